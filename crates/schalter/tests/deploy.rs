//! What `deploy/` and `docs/deploy.md` promise: configurations that are right, a unit that systemd takes, a Compose file that
//! names what is there, a binary that starts with what the image has.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should stop there"
)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

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
    for secret in ["casework.key", "oidc.secret"] {
        std::fs::write(folder.join(secret), "Qm8s1Yt5vXw2bNc7+ZaKdLpR0eGhJ4uF").unwrap();
    }
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
    assert_eq!(seen, 5);
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

/// What the image for the binary has of libraries (distroless `cc`), and it needs no other.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux"];

/// The libraries that the binary is loaded with, by `ldd`.
fn libraries() -> Vec<PathBuf> {
    let output = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_schalter"))
        .output()
        .unwrap();
    text(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A process that ends with the test.
struct Contained(Child);

/// Whether any process has this program.
fn is_running(program: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut programs = processes.filter_map(|it| std::fs::read_link(it.path().join("exe")).ok());
    programs.any(|own| own == program)
}

impl Drop for Contained {
    fn drop(&mut self) {
        // The server's other number takes from it the signal that `--kill-child` asked for (prctl(2), PR_SET_PDEATHSIG). Once it has ended,
        // so does what started it.
        let id = self.0.id();
        let inside = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let inside = inside.ok().and_then(|pids| pids.trim().parse().ok());
        let ended = inside
            .and_then(rustix::process::Pid::from_raw)
            .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        if !matches!(ended, Some(Ok(()))) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A folder of the image that is to be.
fn make(root: &Path, inner: &str) -> PathBuf {
    let path = root.join(inner.trim_start_matches('/'));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn as_in_the_image_it_starts_with_its_libraries_and_nothing_else() {
    let dockerfile = repository().join("deploy/container/Dockerfile");
    let dockerfile = std::fs::read_to_string(dockerfile).unwrap();
    let line = |word: &str| {
        let mut lines = dockerfile
            .lines()
            .filter_map(|line| line.strip_prefix(word));
        lines.next_back().unwrap().trim().to_owned()
    };
    let words = |word| serde_json::from_str::<Vec<String>>(&line(word)).unwrap();
    let (program, arguments) = (words("ENTRYPOINT"), words("CMD"));

    let root = folder("deploy-image");
    std::fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
    let put = |from: &Path, to: &str| {
        let path = Path::new(to);
        make(&root, path.parent().unwrap().to_str().unwrap());
        std::fs::copy(from, root.join(to.trim_start_matches('/'))).unwrap();
    };
    put(Path::new(env!("CARGO_BIN_EXE_schalter")), &program[0]);
    for library in libraries() {
        let name = library.file_name().unwrap().to_str().unwrap();
        assert!(
            LIBRARIES.iter().any(|known| name.starts_with(known)),
            "the image has no {name}"
        );
        put(&library, library.to_str().unwrap());
    }
    make(&root, "/etc/schalter");
    let config = "port: 8443\nbind_addresses: ['0.0.0.0']\nkeys: {video: Vb2o0Nd3lq8m2k+Xy7rTtPzKfJ0sQe1u}\nrtc: {node_ip: 192.0.2.10}\n";
    std::fs::write(root.join("etc/schalter/schalter.yaml"), config).unwrap();
    let state = line("VOLUME");
    let state: Vec<String> = serde_json::from_str(&state).unwrap();
    let (state, run) = (make(&root, &state[0]), make(&root, "/run"));
    let manager = UnixDatagram::bind(run.join("notify")).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    for open in [&state, &run, &run.join("notify")] {
        std::fs::set_permissions(open, PermissionsExt::from_mode(0o777)).unwrap();
    }

    // Namespaces of its own, and as root nonroot's number in the image: no privileges at all.
    let whom = if rustix::process::geteuid().is_root() {
        ["--setuid=65532", "--setgid=65532"]
    } else {
        ["--user", "--map-root-user"]
    };
    let (name, value) = line("ENV")
        .split_once('=')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let mut server = Command::new("unshare");
    server
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(whom)
        .arg(format!("--root={}", root.display()))
        .args(&program)
        .args(&arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env(name, value)
        .env("NOTIFY_SOCKET", "/run/notify")
        .stdin(Stdio::null());
    let log = root.join("log");
    server.stderr(std::fs::File::create(&log).unwrap());
    server.stdout(Stdio::null());
    let server = Contained(server.spawn().expect("unshare: apt-get install util-linux"));
    let mut buffer = [0; 1_024];
    loop {
        let said = manager.recv(&mut buffer);
        let log = || std::fs::read_to_string(&log).unwrap();
        let len = said.unwrap_or_else(|error| panic!("{error}: {}", log()));
        if text(&buffer[..len]).lines().any(|line| line == "READY=1") {
            break;
        }
    }
    assert!(
        state.read_dir().unwrap().next().is_some(),
        "its state is kept"
    );
    drop(server);
    assert!(!is_running(&root.join("usr/local/bin/schalter")));
}
