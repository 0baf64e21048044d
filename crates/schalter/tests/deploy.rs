//! What `deploy/` and `docs/deploy.md` promise: configurations that are right, a unit that systemd takes, a Compose file that
//! names what is there.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should stop there"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Systemd's own tool, which the installation of the tests brings.
fn systemd_analyze(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .expect("systemd-analyze: apt-get install systemd")
}

/// The unit, with the built binary in place of the installed one.
fn unit(folder: &Path) -> PathBuf {
    let shipped = repository().join("deploy/systemd/schalter.service");
    let unit = std::fs::read_to_string(shipped).unwrap();
    assert!(unit.contains("/usr/local/bin/schalter"));
    let unit = unit.replace("/usr/local/bin/schalter", env!("CARGO_BIN_EXE_schalter"));
    let path = folder.join("schalter.service");
    std::fs::write(&path, unit).unwrap();
    path
}

#[test]
fn every_configuration_of_the_page_is_right() {
    let page = std::fs::read_to_string(repository().join("docs/deploy.md")).unwrap();
    let folder = folder("deploy-page");
    let pair = rcgen::generate_simple_self_signed(vec!["video.example.org".to_owned()]).unwrap();
    std::fs::write(folder.join("fullchain.pem"), pair.cert.pem()).unwrap();
    std::fs::write(folder.join("privkey.pem"), pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(
        folder.join("video.secret"),
        "Vb2o0Nd3lq8m2k+Xy7rTtPzKfJ0sQe1u",
    )
    .unwrap();
    let mut seen = 0;
    for block in page.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        assert!(
            block.starts_with("# /etc/schalter/schalter.yaml\n"),
            "{block}"
        );
        let config = block.replace("/etc/schalter/", &format!("{}/", folder.display()));
        let path = folder.join("schalter.yaml");
        std::fs::write(&path, config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_schalter"))
            .arg("check-config")
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{block}{}", text(&output.stderr));
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn every_file_that_the_page_installs_is_there() {
    let page = std::fs::read_to_string(repository().join("docs/deploy.md")).unwrap();
    let mut seen = 0;
    for word in page.split_whitespace() {
        let Some(file) = word.strip_prefix("/root/deploy/") else {
            continue;
        };
        assert!(repository().join("deploy").join(file).is_file(), "{file}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn systemd_takes_the_unit_without_a_word() {
    let folder = folder("deploy-unit");
    let unit = unit(&folder);
    let output = systemd_analyze(&["verify", "--man=no", unit.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    // A mistake in the unit would be seen.
    let broken = std::fs::read_to_string(&unit)
        .unwrap()
        .replace("Type=notify", "Type=notifies");
    std::fs::write(&unit, broken).unwrap();
    let output = systemd_analyze(&["verify", "--man=no", unit.to_str().unwrap()]);
    assert!(text(&output.stderr).contains("notifies"));
}

/// Exposure that `systemd-analyze security` may count, in tenths: 0 is none, 100 is a service without any bounds.
const EXPOSURE: &str = "20";

#[test]
fn the_unit_leaves_little_to_whoever_gets_into_the_process() {
    let unit = unit(&folder("deploy-security"));
    let unit = unit.to_str().unwrap();
    let threshold = format!("--threshold={EXPOSURE}");
    let output = systemd_analyze(&["security", "--offline=true", &threshold, unit]);
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn the_compose_file_names_what_is_there() {
    let folder = repository().join("deploy/container");
    let compose = std::fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let compose: serde_yaml::Value = serde_yaml::from_str(&compose).unwrap();
    let service = &compose["services"]["schalter"];
    let context = folder.join(service["build"]["context"].as_str().unwrap());
    let dockerfile = context.join(service["build"]["dockerfile"].as_str().unwrap());
    let dockerfile = std::fs::read_to_string(dockerfile).unwrap();
    for line in dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
    {
        let source = line.split_whitespace().find(|word| !word.starts_with("--"));
        let source = source.unwrap().trim_start_matches("/src/");
        let built = source.starts_with("target/");
        assert!(built || context.join(source).exists(), "{source}");
    }
    assert_eq!(service["cap_drop"][0].as_str(), Some("ALL"));
    let volumes = service["volumes"].as_sequence().unwrap();
    let state = volumes
        .iter()
        .any(|volume| volume.as_str().unwrap().starts_with("state:"));
    assert!(state && compose["volumes"].get("state").is_some());
}
