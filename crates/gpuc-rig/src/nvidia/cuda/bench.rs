//! The copies themselves.

use std::ffi::OsString;
use std::sync::mpsc::Sender;
use std::time::Instant;

use gpuc_core::units::MIB;

use super::api::{Api, Place};
use super::{Limits, Message, Step, Wanted};
use crate::nvidia::Reading;

const WARM_UPS: usize = 3;
const COPIES: usize = 11;
/// Buffers to try, MiB, until one can be had.
const LINK_MIB: [usize; 3] = [256, 128, 64];
const VRAM_MIB: [usize; 5] = [1024, 512, 256, 128, 64];
/// Copies within VRAM that are timed together: one alone takes a millisecond or less.
const VRAM_TOGETHER: usize = 4;
/// Pinned RAM is probed from here by doubling, then between the last two sizes down to the step.
const PIN_FIRST: u64 = 128 * MIB;
const PIN_STEP: u64 = 32 * MIB;

/// A measured rate with what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// Median of the copies, 10^9 bytes a second.
    pub gbps: f64,
    /// Slowest and fastest copy, 10^9 bytes a second.
    pub spread_gbps: (f64, f64),
    /// Copies that were timed.
    pub copies: usize,
    /// Bytes of the buffer.
    pub bytes: u64,
}

/// How much RAM can be pinned at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinnable {
    /// The largest buffer that could be had, bytes.
    pub bytes: u64,
    /// Why no larger one was tried; then the figure means "at least".
    pub capped: Option<String>,
}

fn say(outbox: &Sender<Message>, message: Message) -> Result<(), String> {
    outbox
        .send(message)
        .map_err(|_| "nobody waits any more".into())
}

/// All steps, each reported as it is done; an error says why no further one can be.
pub(super) fn run(
    libraries: &[OsString],
    wanted: &Wanted,
    limits: Limits,
    outbox: &Sender<Message>,
) -> Result<(), String> {
    say(outbox, Message::Begun(Step::Start))?;
    let api = load(libraries)?;
    api.start()?;
    let device = choose(&api.devices()?, wanted)?;
    api.enter(device)?;
    say(outbox, Message::Begun(Step::Link))?;
    let (up, down) = link(&api);
    say(outbox, Message::HostToDevice(up))?;
    say(outbox, Message::DeviceToHost(down))?;
    say(outbox, Message::Begun(Step::Vram))?;
    say(outbox, Message::Vram(vram(&api)))?;
    say(outbox, Message::Begun(Step::Pin))?;
    say(outbox, Message::Pinnable(pinnable(&api, limits, outbox)))
}

fn load(libraries: &[OsString]) -> Result<Api, String> {
    let mut reasons = Vec::new();
    for library in libraries {
        match Api::load(library) {
            Ok(api) => return Ok(api),
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons.join("; "))
}

/// The CUDA device that is the wanted GPU. Their orders differ, so numbers do not tell.
fn choose(devices: &[Place], wanted: &Wanted) -> Result<i32, String> {
    let digits = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_hexdigit)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    if let Some(uuid) = &wanted.uuid {
        let bare = uuid.split_once('-').map_or(uuid.as_str(), |(_, rest)| rest);
        let found = devices.iter().find(|place| {
            place.uuid.is_some_and(|bytes| {
                let hex: String = bytes
                    .iter()
                    .flat_map(|b| [b >> 4, b & 15])
                    .filter_map(|half| char::from_digit(half.into(), 16))
                    .collect();
                hex == digits(bare)
            })
        });
        if let Some(place) = found {
            return Ok(place.device);
        }
    }
    if let Some(address) = wanted.pci_bus_id.as_deref().and_then(pci_address) {
        let found = devices
            .iter()
            .find(|place| place.pci_bus_id.as_deref().and_then(pci_address) == Some(address));
        if let Some(place) = found {
            return Ok(place.device);
        }
    }
    let known = wanted.uuid.is_some() || wanted.pci_bus_id.is_some();
    match devices {
        [] => Err("CUDA sees no GPU".into()),
        [only] if !known || (only.uuid.is_none() && only.pci_bus_id.is_none()) => Ok(only.device),
        [first, ..] if !known => Ok(first.device),
        _ => Err("CUDA does not see the GPU that is profiled".into()),
    }
}

/// "00000000:01:00.0" and "0000:01:00.0" are one address.
fn pci_address(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split([':', '.']);
    let mut next = || u32::from_str_radix(parts.next()?.trim(), 16).ok();
    Some([next()?, next()?, next()?])
}

/// Warms up, then times; `bytes` is what one go moves.
fn rate(
    api: &Api,
    bytes: usize,
    moved: usize,
    go: impl Fn() -> Result<(), String>,
) -> Reading<Rate> {
    for _ in 0..WARM_UPS {
        api.time(&go)?;
    }
    let mut rates = Vec::with_capacity(COPIES);
    for _ in 0..COPIES {
        let seconds = api.time(&go)?;
        // A clock that stands still or runs backwards measures nothing.
        if !(seconds.is_finite() && seconds > 0.0) {
            return Err(format!("the GPU timed a copy at {seconds} s"));
        }
        rates.push(moved as f64 / seconds / 1e9);
    }
    rates.sort_by(f64::total_cmp);
    let at = |i: usize| rates.get(i).copied().unwrap_or_default();
    Ok(Rate {
        gbps: at(COPIES / 2),
        spread_gbps: (at(0), at(COPIES - 1)),
        copies: COPIES,
        bytes: bytes as u64,
    })
}

fn link(api: &Api) -> (Reading<Rate>, Reading<Rate>) {
    let mut why = String::new();
    for mib in LINK_MIB {
        let bytes = mib << 20;
        let buffers = api
            .pinned_memory(bytes)
            .and_then(|host| Ok((host, api.device_memory(bytes)?)));
        match buffers {
            Ok((host, device)) => {
                return (
                    rate(api, bytes, bytes, || device.fill_from(&host)),
                    rate(api, bytes, bytes, || device.empty_into(&host)),
                );
            }
            Err(e) => why = e,
        }
    }
    (Err(why.clone()), Err(why))
}

fn vram(api: &Api) -> Reading<Rate> {
    let mut why = String::new();
    for mib in VRAM_MIB {
        let bytes = mib << 20;
        let buffers = api
            .device_memory(bytes)
            .and_then(|from| Ok((from, api.device_memory(bytes)?)));
        match buffers {
            Ok((from, to)) => {
                // Each byte is read once and written once.
                return rate(api, bytes, 2 * bytes * VRAM_TOGETHER, || {
                    (0..VRAM_TOGETHER).try_for_each(|_| from.copy_to(&to))
                });
            }
            Err(e) => why = e,
        }
    }
    Err(why)
}

fn pinnable(api: &Api, limits: Limits, outbox: &Sender<Message>) -> Reading<Pinnable> {
    let begun = Instant::now();
    probe(limits.pinned, |bytes| {
        // Each attempt takes seconds at worst and shows that the driver still answers.
        let _ = outbox.send(Message::Begun(Step::Pin));
        if begun.elapsed() > limits.pinning {
            return None;
        }
        let size = usize::try_from(bytes).ok()?;
        Some(api.pinned_memory(size).map(drop))
    })
}

/// The largest size that `attempt` grants, up to `cap`; `attempt` gives nothing when time is up.
fn probe(
    cap: u64,
    mut attempt: impl FnMut(u64) -> Option<Result<(), String>>,
) -> Reading<Pinnable> {
    let time_is_up = |bytes| {
        Ok(Pinnable {
            bytes,
            capped: Some("the time for it was up".into()),
        })
    };
    let mut granted = 0;
    let mut refused;
    let mut next = PIN_FIRST.min(cap);
    loop {
        match attempt(next) {
            Some(Ok(())) => granted = next,
            Some(Err(why)) if granted == 0 => {
                // The first size is no floor: less may well be had.
                return Err(why);
            }
            Some(Err(_)) => {
                refused = next;
                break;
            }
            None if granted == 0 => return Err("the time for it was up".into()),
            None => return time_is_up(granted),
        }
        if granted >= cap {
            return Ok(Pinnable {
                bytes: granted,
                capped: Some("the probe goes no further".into()),
            });
        }
        next = granted.saturating_mul(2).min(cap);
    }
    while refused - granted > PIN_STEP {
        let middle = granted + (refused - granted) / 2 / MIB * MIB;
        match attempt(middle) {
            Some(Ok(())) => granted = middle,
            Some(Err(_)) => refused = middle,
            None => return time_is_up(granted),
        }
    }
    Ok(Pinnable {
        bytes: granted,
        capped: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinning_is_probed_by_doubling_and_bisecting() {
        let up_to = |limit: u64| {
            move |bytes: u64| {
                Some(if bytes <= limit {
                    Ok(())
                } else {
                    Err("no".into())
                })
            }
        };
        for limit_mib in [128, 200, 513, 1000, 4095, 9000] {
            let limit = limit_mib * MIB;
            let found = probe(24 << 30, up_to(limit)).unwrap();
            assert_eq!(found.capped, None);
            assert!(
                found.bytes <= limit && limit - found.bytes < PIN_STEP,
                "{limit_mib}"
            );
        }
        let found = probe(3000 * MIB, up_to(u64::MAX)).unwrap();
        assert_eq!(found.bytes, 3000 * MIB);
        assert!(found.capped.is_some());
        assert_eq!(probe(1 << 30, up_to(0)), Err("no".into()));
        let mut left = 3;
        let found = probe(24 << 30, |_| {
            left -= 1;
            (left >= 0).then_some(Ok(()))
        });
        assert_eq!(found.unwrap().bytes, 512 * MIB);
    }

    #[test]
    fn the_wanted_gpu_is_found_by_identifier_or_address() {
        let place = |device, first, pci: &str| {
            let mut uuid = [0; 16];
            uuid[0] = first;
            Place {
                device,
                uuid: Some(uuid),
                pci_bus_id: Some(pci.into()),
            }
        };
        let devices = [
            place(7, 0xaa, "0000:01:00.0"),
            place(8, 0xbb, "0000:41:00.0"),
        ];
        let wanted = |uuid: Option<&str>, pci: Option<&str>| Wanted {
            uuid: uuid.map(Into::into),
            pci_bus_id: pci.map(Into::into),
        };
        let bb = "GPU-bb000000-0000-0000-0000-000000000000";
        let cc = "GPU-cc000000-0000-0000-0000-000000000000";
        let cases = [
            (wanted(Some(bb), None), Ok(8)),
            (wanted(None, Some("00000000:41:00.0")), Ok(8)),
            (wanted(Some(cc), Some("00000000:01:00.0")), Ok(7)),
            (wanted(None, None), Ok(7)),
            (wanted(Some(cc), None), Err(())),
        ];
        for (wanted, want) in cases {
            assert_eq!(
                choose(&devices, &wanted).map_err(|_| ()),
                want,
                "{wanted:?}"
            );
        }
        assert!(choose(&[], &wanted(None, None)).is_err());
    }
}
