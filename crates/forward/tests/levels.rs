//! Loudness events from the audio level extension.

use schalter_forward::ForwardEvent;

use crate::rig::*;

fn speak(rig: &mut Rig, from: u16, packets: u16, dbov: u8) -> Vec<(f32, bool)> {
    let mut levels = Vec::new();
    for n in from..from + packets {
        let packet = opus(n, u32::from(n) * 960, b"sound").with(4, &[0x80 | dbov]);
        rig.forward(&packet);
        rig.wait(20);
        levels.extend(rig.events().into_iter().filter_map(|event| match event {
            ForwardEvent::AudioLevel {
                level,
                active,
                track,
            } => {
                assert_eq!(track, TRACK);
                Some((level, active))
            }
            _ => None,
        }));
    }
    levels
}

#[test]
fn speech_is_told_when_it_starts_and_when_it_ends() {
    let mut rig = Rig::new(audio(vec![OPUS]));
    assert_eq!(speak(&mut rig, 1, 50, 100), []);
    let started = speak(&mut rig, 51, 50, 20);
    assert!(started[0].1 && started[0].0 > 0.0);
    assert!(started.len() <= 3, "{started:?}");
    let ended = speak(&mut rig, 101, 150, 100);
    assert_eq!(ended.last(), Some(&(0.0, false)));
}

#[test]
fn a_muted_speaker_falls_silent() {
    let mut rig = Rig::new(audio(vec![OPUS]));
    speak(&mut rig, 1, 50, 10);
    rig.router.mute_producer(rig.now, TRACK, true);
    for n in 51..200 {
        let packet = opus(n, u32::from(n) * 960, b"sound").with(4, &[0x80 | 10]);
        assert!(rig.publish(&packet).is_err());
        rig.wait(20);
    }
    let last = rig.events().pop();
    assert!(
        matches!(last, Some(ForwardEvent::AudioLevel { active: false, .. })),
        "{last:?}"
    );
}

#[test]
fn the_level_reaches_subscribers_under_their_id() {
    let mut rig = Rig::new(audio(vec![OPUS]));
    let mut config = subscription(vec![OPUS]);
    config.extensions.audio_level = Some(12);
    rig.subscribe(config);
    let got = rig.forward(&opus(1, 0, b"sound").with(4, &[0x85]));
    assert_eq!(got[0].elements.get(&12), Some(&vec![0x85]));
    assert_eq!(got[0].elements.len(), 1);
}
