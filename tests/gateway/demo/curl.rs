//! Runs the commands that the demonstration prints, in bash and zsh.

use std::env;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::Command;

use super::super::process::Running;

/// A heading of the banner and its commands.
struct Section {
    heading: String,
    lines: Vec<String>,
}

/// The ports that the demonstration prefers.
const PREFERRED: [u16; 4] = [8080, 3001, 3002, 3003];

#[test]
fn printed_commands_match_their_headings() {
    // Taken ports must not prevent it from starting.
    let taken = PREFERRED.map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let mut demonstration = Running::start("gateway", &[]);
    let sections = banner(&mut demonstration);
    let places = &sections[0].heading;
    for port in PREFERRED {
        let url = format!("http://127.0.0.1:{port}\n");
        assert!(!places.contains(&url), "a port that was taken: {places}");
    }
    let sections = &sections[1..];
    assert!(sections.len() > 5, "the banner has sections");

    if has("curl") {
        for shell in ["bash", "zsh"].into_iter().filter(|shell| has(shell)) {
            check(shell, sections);
        }
    } else {
        skip("demo curl lines: install curl");
    }
    demonstration.signal("TERM");
    let ended = demonstration.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    drop(taken);
}

/// Headings start at the margin, commands are indented, and an empty line ends a section.
fn banner(demonstration: &mut Running) -> Vec<Section> {
    let mut sections = Vec::new();
    loop {
        let mut section = Section {
            heading: String::new(),
            lines: Vec::new(),
        };
        loop {
            let line = demonstration.line().expect("the banner's last line");
            if line.starts_with("Press Ctrl-C") {
                return sections;
            }
            if line.is_empty() {
                break;
            }
            match line.strip_prefix("  ") {
                Some(line) => section.lines.push(line.to_owned()),
                None => section.heading += &(line + "\n"),
            }
        }
        sections.push(section);
    }
}

/// All commands run in one shell, because later ones use variables of earlier ones.
#[track_caller]
fn check(shell: &str, sections: &[Section]) {
    const MARK: &str = "--- the next section ---";
    let mut script = String::new();
    for section in sections {
        script += &format!("{}\necho; echo '{MARK}'\n", section.lines.join("\n"));
    }
    let ran = Command::new(shell).args(["-c", &script]).output();
    let ran = ran.expect("the shell runs");
    let output = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{shell}: {output}{errors}");

    let answers: Vec<&str> = output.split(MARK).collect();
    assert_eq!(answers.len(), sections.len() + 1, "{shell}: {output}");
    let mut seen = Vec::new();
    for (section, answer) in sections.iter().zip(answers) {
        let heading = &section.heading;
        let Some(status) = status(heading) else {
            continue;
        };
        let shown = answer.split_whitespace().any(|word| word == status);
        assert!(shown, "{shell}: {heading}{answer}{errors}");
        // The code, if the heading names one.
        let mut reasons = heading.split_whitespace().filter(|word| word.contains('_'));
        assert!(
            reasons.all(|reason| answer.contains(&format!("\"code\":\"{reason}\""))),
            "{shell}: {heading}{answer}{errors}"
        );
        seen.push(status);
    }
    for status in ["200", "401", "403", "429"] {
        assert!(seen.contains(&status), "no line shows {status}");
    }
    assert!(output.contains("\"code\":\"bad_signature\""), "{output}");
}

/// The status in a heading such as `A valid token: 200, and ..`.
fn status(heading: &str) -> Option<&str> {
    let (_, promise) = heading.split_once(": ")?;
    let status = promise.get(..3)?;
    status
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(status)
}

fn has(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|asked| asked.status.success())
}

/// Written to stderr directly, because the test harness captures `eprintln!`.
fn skip(what: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}");
    let required = env::var("PORTCULLIS_REQUIRE_ALL").is_ok_and(|all| all == "1");
    assert!(!required, "PORTCULLIS_REQUIRE_ALL=1, and skipped: {what}");
}
