//! Frames as they look, and that no text and no size breaks one.

use std::time::Duration;

use gpuc_core::document::{Breach, Event, Happening, Level, Report, Safety, Sample, Thresholds};
use gpuc_core::safety::{GpuReading, judge};
use proptest::prelude::*;

use super::frame::frame;
use super::*;
use crate::text::Terminal;

fn gpu(temp: f64) -> GpuReading {
    GpuReading {
        power_w: Some(temp * 5.0),
        power_limit_w: Some(450.0),
        temp_c: Some(temp),
        vram_used_mib: Some(8192.0 + temp),
        vram_total_mib: Some(24564.0),
        util_pct: Some(42.0),
        ..GpuReading::default()
    }
}

fn look(at: f64, temp: f64, gpus: usize) -> Look {
    let thresholds = Thresholds {
        cgroup_mem_pct_max: Some(95.0),
        ..Thresholds::default()
    };
    let sample = Sample {
        gpu_power_pct: Some(temp * 5.0 / 4.5),
        gpu_temp_c: Some(temp),
        gpu_vram_pct: Some(33.6),
        gpu_count: Some(1),
        host_mem_pct: Some(45.0 + temp / 10.0),
        host_avail_mib: Some(35000.0 - temp * 10.0),
        job_rss_mib: Some(1331.2),
        job_vram_mib: Some(812.0),
        ..Sample::default()
    };
    let breaches = judge(&sample, &thresholds);
    Look {
        at: Duration::from_secs_f64(at),
        gpus: (gpus > 0).then(|| (0..gpus).map(|n| gpu(temp - n as f64)).collect()),
        processes: Some(3),
        thresholds,
        report: Report {
            verdict: breaches
                .iter()
                .map(|b| b.level)
                .max()
                .map_or(Safety::Ok, |l| match l {
                    Level::Warn => Safety::Warn,
                    Level::Abort => Safety::Abort,
                }),
            breaches,
            sample,
            action_taken: None,
        },
    }
}

fn event(at: f64, what: Happening, reason: &str, breach: Option<&Breach>) -> Event {
    Event {
        t: String::new(),
        elapsed_s: at,
        event: what,
        reason: reason.to_owned(),
        metric: breach.map(|b| b.metric.clone()),
        value: breach.map(|b| b.value),
        threshold: breach.map(|b| b.threshold),
        action: None,
        pid: None,
        status: None,
    }
}

/// A job that has run for 400 s, on so many GPUs, and is this hot now.
fn running(gpus: usize, temp: f64) -> Dashboard {
    let mut d = Dashboard::new(About {
        command: Some("llama-server -m gemma-3-270m-q4_k_m.gguf --port 8080 -ngl 99".to_owned()),
        pid: Some(4242),
        has_output: true,
        interval: 1.0,
    });
    d.event(&event(0.0, Happening::Started, "watching job 4242", None));
    for s in 0..400 {
        let wave = f64::from(s % 60) / 4.0;
        d.look(look(f64::from(s), 50.0 + wave, gpus));
    }
    let now = look(400.0, temp, gpus);
    for b in &now.report.breaches {
        let (what, why) = match b.level {
            Level::Warn => (
                Happening::Warning,
                "near its limit, or past it for less than it takes to count",
            ),
            Level::Abort => (Happening::Breach, "past its limit"),
        };
        d.event(&event(400.0, what, why, Some(b)));
    }
    d.look(now);
    let mut output = Scrollback::default();
    for n in 0..120 {
        let line = format!(
            "\x1b[32mslot print_timing\x1b[0m: id  0 | task {n} | eval time = 1326.41 ms / 24 tokens (55.27 ms per token)\n"
        );
        output.push(line.as_bytes());
    }
    d.output(&output);
    d
}

fn shown(d: &Dashboard, size: (u16, u16), unicode: bool) -> String {
    let frame = frame(d, size, unicode);
    let mut out = String::new();
    for row in frame.content.chunks(usize::from(size.0)) {
        let line: String = row.iter().map(ratatui_core::buffer::Cell::symbol).collect();
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[test]
fn frames() {
    let all = [
        (
            "near its limit on 8 GPUs, 200x50",
            running(8, 80.0),
            (200, 50),
            true,
        ),
        ("past its limit, 80x24", running(1, 90.0), (80, 24), true),
        ("8 GPUs, 80x24", running(8, 80.0), (80, 24), true),
        ("fine, 40x12", running(1, 61.0), (40, 12), true),
        ("ASCII, 80x24", running(2, 80.0), (80, 24), false),
        ("small, 24x6", running(1, 61.0), (24, 6), true),
    ];
    let mut out = String::new();
    for (name, dashboard, size, unicode) in all {
        out += &format!("=== {name}\n{}", shown(&dashboard, size, unicode));
    }
    let mut d = running(1, 61.0);
    d.key(Key::Help);
    shown(&d, (90, 36), true);
    d.key(Key::Screens(1));
    out += &format!("=== keys, 90x36\n{}", shown(&d, (90, 36), true));
    insta::assert_snapshot!(out);
}

#[test]
fn the_documentation_shows_a_frame_as_it_is() {
    let docs = include_str!("../../../../docs/watchdog.md");
    let frame = shown(&running(1, 80.0), (80, 22), true);
    assert!(docs.contains(&format!("```text\n{frame}```")), "{frame}");
}

#[test]
fn a_watch_without_a_job_and_without_gpus() {
    let mut d = Dashboard::new(About {
        interval: 5.0,
        ..About::default()
    });
    let nothing = shown(&d, (80, 8), true);
    let mut look = look(3.0, 60.0, 0);
    look.report.sample.gpu_power_pct = None;
    look.report.sample.notes = vec!["no GPU reading: no NVML and no nvidia-smi".to_owned()];
    look.processes = None;
    d.look(look);
    insta::assert_snapshot!(format!("{nothing}=== later\n{}", shown(&d, (80, 16), true)));
}

#[test]
fn the_last_frame_stays_as_lines() {
    let mut d = running(1, 61.0);
    d.event(&Event {
        status: Some(0),
        ..event(401.0, Happening::Exit, "exit 0", None)
    });
    let terminal = Terminal::default();
    let text = parting(&d, (80, 24), &terminal);
    assert!(
        text.starts_with(" ENDED  exit 0 ") && !text.contains('\x1b'),
        "{text}"
    );
    assert!(!text.contains("q ends"), "{text}");
    let coloured = Terminal {
        colour: true,
        ..terminal
    };
    assert!(parting(&d, (80, 24), &coloured).starts_with("\x1b[0;1;7;32m ENDED \x1b[0"));
}

#[test]
fn only_what_has_changed_is_drawn() {
    let mut d = running(1, 61.0);
    let mut painter = Painter::new(&Terminal::default());
    let all = painter.paint(&d, (80, 24));
    assert!(all.contains("\x1b[2J") && all.contains("llama-server"));
    // Without colour nothing is coloured.
    assert!(!all.contains("\x1b[0;"), "{all:?}");
    assert_eq!(painter.paint(&d, (80, 24)), "");
    d.tick(Duration::from_secs(401));
    let second = painter.paint(&d, (80, 24));
    assert!(
        second.starts_with("\x1b[?2026h\x1b[1;79H1") && second.len() < 100,
        "{second:?}"
    );
    painter.forget();
    assert_eq!(
        painter.paint(&d, (80, 24)).matches("llama-server").count(),
        1
    );
    assert!(painter.paint(&d, (81, 24)).contains("\x1b[2J"));
}

#[test]
fn nothing_that_is_printed_steers_the_terminal() {
    let evil = "evil\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}";
    let mut d = running(1, 61.0);
    d.about.command = Some(evil.to_owned());
    d.words(evil);
    d.event(&event(1.0, Happening::ActionFailed, evil, None));
    let mut output = Scrollback::default();
    output.push(evil.as_bytes());
    d.output(&output);
    for unicode in [true, false] {
        let text = shown(&d, (100, 30), unicode);
        assert_eq!(text.matches("evil").count(), 4, "{text}");
        let steers = text
            .chars()
            .find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(steers, None, "{text:?}");
        assert!(unicode || text.is_ascii(), "{text}");
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0..200.0,
        Just(0.0),
        Just(f64::NAN),
        Just(f64::INFINITY)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_no_number_and_no_size_breaks_a_frame(
        words in any::<String>(),
        printed in prop::collection::vec(any::<u8>(), 0..2000),
        pressed in prop::collection::vec(any::<u8>(), 0..20),
        numbers in prop::array::uniform6(number()),
        size in (0_u16..140, 0_u16..60),
        gpus in 0_usize..70,
        unicode: bool,
    ) {
        let [a, b, c, d, e, f] = numbers;
        let mut dashboard = running(gpus, 61.0);
        dashboard.about.command = Some(words.clone());
        dashboard.about.interval = f;
        let mut at = look(410.0, a, gpus);
        at.report.sample.host_avail_mib = Some(b);
        at.report.sample.host_mem_pct = Some(c);
        at.thresholds.host_avail_mib_min = d;
        at.thresholds.gpu_temp_c_max = e;
        at.thresholds.warn_fraction = f;
        at.report.breaches = judge(&at.report.sample, &at.thresholds);
        at.report.breaches.push(Breach {
            metric: words.clone(),
            value: a,
            threshold: b,
            level: Level::Abort,
        });
        dashboard.look(at);
        dashboard.words(&words);
        dashboard.event(&event(a, Happening::Breach, &words, None));
        let mut output = Scrollback::default();
        output.push(&printed);
        dashboard.output(&output);
        for key in keys(&pressed) {
            dashboard.key(key);
        }
        let mut painter = Painter::new(&Terminal { unicode, ..Terminal::default() });
        let painted = painter.paint(&dashboard, size);
        prop_assert!(unicode || painted.is_ascii());
        prop_assert_eq!(painter.paint(&dashboard, size), "");
        dashboard.event(&event(f, Happening::Exit, &words, None));
        parting(&dashboard, size, &Terminal::default());
    }
}
