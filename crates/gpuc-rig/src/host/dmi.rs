//! How fast the installed memory modules could be at best, by the firmware's own table (DMI).
//!
//! Only root may read the table, virtual machines leave the speeds out, and firmware names the
//! channels as it likes: each of that is a reason, none of it is guessed over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::nvidia::Reading;

/// Memory modules are structures of this type.
const MEMORY_DEVICE: u8 = 17;
/// "Unknown" in a field of 16 bits, and "look in the wide field" in others.
const UNKNOWN: u16 = 0xffff;

/// What the modules could deliver together.
#[derive(Debug, Clone, PartialEq)]
pub struct Theoretical {
    /// 10^9 bytes a second.
    pub gbps: f64,
    /// Channels with a module in them.
    pub channels: usize,
    /// Modules.
    pub modules: usize,
    /// Transfers a second of the slowest module, millions.
    pub mega_transfers: u32,
}

/// Reads the table below `root`.
pub fn theoretical_bandwidth(root: &Path) -> Reading<Theoretical> {
    let path = root.join("sys/firmware/dmi/tables/DMI");
    let table = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    by_table(&table)
}

struct Module {
    bits: u16,
    mega_transfers: u32,
    channel: Option<String>,
}

fn by_table(table: &[u8]) -> Reading<Theoretical> {
    let modules: Vec<Module> = structures(table)
        .filter(|(kind, _, _)| *kind == MEMORY_DEVICE)
        .filter_map(|(_, fields, strings)| module(fields, &strings))
        .collect();
    if modules.is_empty() {
        return Err("the firmware lists no memory module".into());
    }
    let slowest = modules.iter().map(|m| m.mega_transfers).min();
    let slowest = slowest
        .filter(|mts| *mts > 0)
        .ok_or("the firmware does not tell the modules' speed")?;
    // Two modules on one channel take turns.
    let mut channels: BTreeMap<&str, u16> = BTreeMap::new();
    for module in &modules {
        let channel = module
            .channel
            .as_deref()
            .ok_or("the firmware does not tell which channels the modules are on")?;
        let bits = channels.entry(channel).or_default();
        *bits = module.bits.max(*bits);
    }
    let bits: u64 = channels.values().map(|bits| u64::from(*bits)).sum();
    // All channels run at the speed of the slowest module.
    Ok(Theoretical {
        gbps: bits as f64 / 8.0 * f64::from(slowest) / 1000.0,
        channels: channels.len(),
        modules: modules.len(),
        mega_transfers: slowest,
    })
}

/// Type, fields and strings of each structure. What is cut off or nonsense ends the list.
fn structures(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8], Vec<String>)> {
    std::iter::from_fn(move || {
        let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        let fields = rest.get(..length).filter(|f| f.len() >= 4)?;
        let tail = rest.get(length..)?;
        let end = tail.windows(2).position(|pair| pair == [0, 0])?;
        let strings = tail
            .get(..end)?
            .split(|b| *b == 0)
            .map(|s| String::from_utf8_lossy(s).trim().to_owned())
            .collect();
        rest = tail.get(end + 2..)?;
        Some((kind, fields, strings))
    })
}

/// A module, unless its place is empty.
fn module(fields: &[u8], strings: &[String]) -> Option<Module> {
    let word = |at: usize| {
        let bytes = fields.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let wide = |at: usize| {
        let bytes = fields.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let text = |at: usize| {
        let number = usize::from(*fields.get(at)?);
        strings.get(number.checked_sub(1)?)
    };
    let size = word(0x0c)?;
    let bits = word(0x0a).filter(|b| matches!(b, 8..=1024))?;
    if size == 0 || size == UNKNOWN {
        return None;
    }
    // The speed it runs at, else the one it could run at.
    let speed = |narrow, broad| match word(narrow) {
        Some(UNKNOWN) => wide(broad),
        Some(mts) => Some(mts.into()),
        None => None,
    };
    let mega_transfers = [speed(0x20, 0x58), speed(0x15, 0x54)]
        .into_iter()
        .flatten()
        .find(|mts| *mts > 0)
        .unwrap_or(0);
    Some(Module {
        bits,
        mega_transfers,
        channel: channel(
            text(0x11).map_or("", String::as_str),
            text(0x10).map_or("", String::as_str),
        ),
    })
}

/// The channel that a module is on, by the names of its bank and its slot: "P0 CHANNEL A", or
/// "Controller0-ChannelA-DIMM0", or a slot such as "CPU1_DIMM_A2" or "A2".
fn channel(bank: &str, slot: &str) -> Option<String> {
    for name in [bank, slot] {
        let name = name.to_ascii_lowercase();
        if let Some(at) = name.find("channel") {
            let end = name
                .get(at..)
                .and_then(|rest| rest.find("dimm"))
                .map_or(name.len(), |dimm| at + dimm);
            return Some(
                name.get(..end)?
                    .trim_end_matches(['-', '_', ' '])
                    .to_owned(),
            );
        }
    }
    // A letter for the channel and a number for the place on it.
    let slot = slot.to_ascii_lowercase();
    let bare = slot.trim_end_matches(|c: char| c.is_ascii_digit());
    let mut last = bare.chars().rev();
    let letter = last.next().filter(char::is_ascii_lowercase)?;
    let alone = last.next().is_none_or(|c| !c.is_ascii_alphabetic())
        || bare.ends_with(&format!("dimm{letter}"));
    (bare.len() < slot.len() && alone).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A module as firmware would list it.
    fn entry(bank: &str, slot: &str, size: u16, mts: u16, configured: u16) -> Vec<u8> {
        let mut fields = vec![0_u8; 0x28];
        fields[0] = MEMORY_DEVICE;
        fields[1] = 0x28;
        fields[0x0a..0x0c].copy_from_slice(&64_u16.to_le_bytes());
        fields[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        fields[0x10] = 1;
        fields[0x11] = 2;
        fields[0x15..0x17].copy_from_slice(&mts.to_le_bytes());
        fields[0x20..0x22].copy_from_slice(&configured.to_le_bytes());
        fields.extend(slot.bytes().chain([0]).chain(bank.bytes()).chain([0, 0]));
        fields
    }

    #[test]
    fn channels_count_once() {
        let mut table = vec![0, 4, 0, 0, 0, 0];
        for (bank, slot, size) in [
            ("P0 CHANNEL A", "DIMM 0", 16384),
            ("P0 CHANNEL A", "DIMM 1", 16384),
            ("P0 CHANNEL B", "DIMM 0", 16384),
            ("P0 CHANNEL B", "DIMM 1", 0),
        ] {
            table.extend(entry(bank, slot, size, 6400, 6000));
        }
        let found = by_table(&table).unwrap();
        assert_eq!(
            (found.channels, found.modules, found.mega_transfers),
            (2, 3, 6000)
        );
        assert_eq!(found.gbps, 96.0);
    }

    #[test]
    fn names_of_channels() {
        // (bank, slot, channel)
        let cases = [
            ("P0 CHANNEL A", "DIMM 1", Some("p0 channel a")),
            (
                "BANK 0",
                "Controller0-ChannelA-DIMM0",
                Some("controller0-channela"),
            ),
            ("NODE 1", "CPU1_DIMM_A2", Some("cpu1_dimm_a")),
            ("", "DIMMB1", Some("dimmb")),
            ("", "A1", Some("a")),
            ("", "DIMM 0", None),
            ("", "DIMM0", None),
            ("", "RAM slot 3", None),
            ("", "", None),
        ];
        for (bank, slot, want) in cases {
            assert_eq!(channel(bank, slot).as_deref(), want, "{bank:?} {slot:?}");
        }
    }

    #[test]
    fn what_firmware_leaves_out_is_said() {
        let why = |table: &[u8]| by_table(table).unwrap_err();
        assert!(why(&[]).contains("no memory module"));
        assert!(why(&entry("", "DIMM 0", 16384, 0, 0)).contains("speed"));
        assert!(why(&entry("", "DIMM 0", 16384, 3200, 0)).contains("channels"));
        assert!(theoretical_bandwidth(Path::new("/nonexistent")).is_err());
    }

    proptest! {
        #[test]
        fn any_table_is_survived(table in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = by_table(&table);
        }
    }
}
