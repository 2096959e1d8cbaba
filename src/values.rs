//! Parsers for flag values: finite, in range, and nothing that only looks like a number.

/// A finite number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    match finite(text)? {
        x if x > 0.0 => Ok(x),
        _ => Err("expected a number above 0".into()),
    }
}

/// A finite number, 0 or more.
pub fn non_negative(text: &str) -> Result<f64, String> {
    match finite(text)? {
        x if x >= 0.0 => Ok(x),
        _ => Err("expected a number, 0 or more".into()),
    }
}

/// A finite number from 0 to `most`.
pub fn up_to(most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |text| match finite(text)? {
        x if (0.0..=most).contains(&x) => Ok(x),
        _ => Err(format!("expected a number from 0 to {most}")),
    }
}

/// A finite number above 0, and `most` at the most.
pub fn above_0_up_to(most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |text| match finite(text)? {
        x if x > 0.0 && x <= most => Ok(x),
        _ => Err(format!("expected a number above 0, at most {most}")),
    }
}

/// Bytes of one weight: above 0, and no format known takes more than 16.
pub fn weight_bytes(text: &str) -> Result<f64, String> {
    match positive(text)? {
        x if x <= 16.0 => Ok(x),
        _ => Err("expected bytes per weight, at most 16".into()),
    }
}

/// A share from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    match finite(text)? {
        x if (0.0..=1.0).contains(&x) => Ok(x),
        _ => Err("expected a share from 0 to 1".into()),
    }
}

/// A whole number, 0 or more.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "expected a whole number, 0 or more".into())
}

/// A whole number, 1 or more.
pub fn at_least_one(text: &str) -> Result<u64, String> {
    match count(text) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number, 1 or more".into()),
    }
}

/// Memory such as "64GiB", "512MiB" or "64", which is in GiB; as bytes. Memory is sold by powers of
/// two whatever it says, so "64GB" is the same as "64GiB".
pub fn memory_size(text: &str) -> Result<u64, String> {
    let wrong = || "expected memory such as 64GiB or 512MiB".to_owned();
    let lower = text.to_ascii_lowercase();
    let unit_at = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at_checked(unit_at).ok_or_else(wrong)?;
    let power = match unit.trim() {
        "m" | "mb" | "mib" => 20,
        "" | "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let bytes = positive(number).map_err(|_| wrong())? * f64::from(power).exp2();
    // 2^53 bytes are 8 PiB.
    if (1.0..=f64::from(53).exp2()).contains(&bytes) {
        Ok(gpuc_core::units::floor_bytes(bytes))
    } else {
        Err(wrong())
    }
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        Ok(_) => Err("expected a finite number".into()),
        Err(_) => Err("expected a number such as 40.7".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_a_number_is_refused() {
        for text in [
            "nan", "inf", "-inf", "1e999", "1_000", " 4 ", "٤", "0x10", "", "4k",
        ] {
            assert!(non_negative(text).is_err(), "{text:?}");
            assert!(count(text).is_err(), "{text:?}");
        }
        assert!(positive("0").is_err() && positive("-1").is_err());
        assert!(share("1.01").is_err());
        assert!(up_to(5.0)("5.1").is_err() && up_to(5.0)("-0.1").is_err());
        assert!(above_0_up_to(5.0)("0").is_err() && above_0_up_to(5.0)("5.1").is_err());
        assert_eq!(
            (up_to(5.0)("5"), above_0_up_to(5.0)("5")),
            (Ok(5.0), Ok(5.0))
        );
        assert!(weight_bytes("0").is_err() && weight_bytes("1e300").is_err());
        assert_eq!(positive("40.7"), Ok(40.7));
        assert_eq!(share("0.9"), Ok(0.9));
        assert_eq!(at_least_one("1"), Ok(1));
        assert_eq!(memory_size("64GiB"), Ok(64 << 30));
        assert_eq!(memory_size("1.5g"), Ok(3 << 29));
        assert_eq!(memory_size("512 MiB"), Ok(512 << 20));
        for text in [
            "",
            "GiB",
            "0",
            "-1GiB",
            "1e3",
            "inf",
            "64K",
            "9e99",
            "99999999T",
        ] {
            assert!(memory_size(text).is_err(), "{text:?}");
        }
        assert!(at_least_one("0").is_err() && count("-1").is_err() && count("4096.0").is_err());
    }
}
