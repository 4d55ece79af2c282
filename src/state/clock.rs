//! What time it is, and how that is written.
//!
//! Not by way of the standard library: on 32-bit processors its `SystemTime::now` ends the program once the clock is past
//! January 2038, and a device's clock may be anywhere before the network has set it. Where others call it all the same (the
//! HTTP library does), `cross/clock.c` keeps it from failing; on MIPS that is all there is, because rustix has no 64-bit
//! call there, and reads garbage from the other one.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, as the machine's clock has it. Nothing may rely on its being right, or on its not being set back.
#[cfg(not(target_arch = "mips"))]
pub fn now() -> SystemTime {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Realtime);
    let since = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
    let now = if time.tv_sec < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
    now.unwrap_or(UNIX_EPOCH)
}

/// Now, as the machine's clock has it; no later than January 2038.
#[cfg(target_arch = "mips")]
#[expect(clippy::disallowed_methods, reason = "there is no other way")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The seconds of a file's time, as `MetadataExt` has them. Where the standard library keeps them in 32 bits, those after
/// January 2038 come out negative; no file is from before 1970.
pub fn file_seconds(seconds: i64) -> i64 {
    widened(seconds, cfg!(target_pointer_width = "32"))
}

fn widened(seconds: i64, narrow: bool) -> i64 {
    if narrow && seconds < 0 { seconds + (1 << 32) } else { seconds }
}

/// When a file was last written to.
pub fn modified(meta: &Metadata) -> SystemTime {
    let seconds = u64::try_from(file_seconds(meta.mtime())).unwrap_or(0);
    let since = Duration::new(seconds, u32::try_from(meta.mtime_nsec()).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// The whole seconds from 1970 until a time; 0 before that.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A time as `2026-11-23T12:00:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let Utc { year, month, day, hour, minute, second, .. } = Utc::of(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads `2026-11-23T12:00:00Z` or `2026-11-23`, as seconds from 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, by: char, widths: [usize; 3]| -> Option<[u64; 3]> {
        let mut parts = text.split(by);
        let mut out = [0; 3];
        for (number, width) in out.iter_mut().zip(widths) {
            let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_digit()))?;
            *number = part.parse().ok()?;
        }
        parts.next().is_none().then_some(out)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if year < 1970 || !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The other way round than in `Utc::of`; a day that there isn't comes out as another one.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let read = Utc::of(UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?);
    ((read.year, read.month, read.day) == (year, month, day)).then_some(seconds)
}

/// A time as HTTP has it: `Mon, 23 Nov 2026 12:00:00 GMT`.
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970 began with a Thursday
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Utc { days, year, month, day, hour, minute, second } = Utc::of(time);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[(month - 1) as usize]);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// A time in its parts.
struct Utc {
    /// Whole days since 1970.
    days: u64,
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Utc {
    fn of(time: SystemTime) -> Self {
        let seconds = seconds(time);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years that begin in March have their odd day at the end; an era is 400 of them.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year_of_era + carry;
        Self { days, year, month, day, hour: second / 3600, minute: second / 60 % 60, second: second % 60 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_dates() {
        for (seconds, text, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "2024-02-29T23:59:59Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_798_761_600, "2027-01-01T00:00:00Z", "Fri, 01 Jan 2027 00:00:00 GMT"),
            (2_147_483_648, "2038-01-19T03:14:08Z", "Tue, 19 Jan 2038 03:14:08 GMT"),
            (4_107_542_399, "2100-02-28T23:59:59Z", "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!((rfc3339(time).as_str(), http_date(time).as_str()), (text, http));
            assert_eq!(parse_rfc3339(text), Some(seconds));
            assert_eq!(parse_rfc3339(&text[..10]), Some(seconds / 86_400 * 86_400));
        }
        for text in
            ["", "2026", "2026-1-1", "2026-02-29", "2026-04-31", "1969-12-31", "2026-01-01T00:00:00", "+026-01-01"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn file_times_after_2038_came_out_before_1970() {
        let late = 2_147_483_648; // as 32 bits: the lowest number there is
        assert_eq!(widened(i64::from(i32::MIN), true), late);
        assert_eq!(widened(-1, true), i64::from(u32::MAX));
        for seconds in [0, 1, late - 1, late] {
            assert_eq!((widened(seconds, true), widened(seconds, false)), (seconds, seconds));
        }
        assert_eq!(widened(-1, false), -1);

        let file = tempfile::tempfile().unwrap();
        let time = UNIX_EPOCH + Duration::new(1_700_000_000, 500_000_000);
        file.set_modified(time).unwrap();
        assert_eq!(modified(&file.metadata().unwrap()), time);
    }

    #[test]
    fn it_is_the_time_that_others_have() {
        #[expect(clippy::disallowed_methods, reason = "what it replaces")]
        let other = SystemTime::now();
        let own = now();
        let apart = own.duration_since(other).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_secs(60), "{own:?}, not {other:?}");
    }
}
