//! Memory that the host process has and no guest: a wild address may hit it by chance.

use crate::layout::{CODE_BASE, CODE_LEN, DATA_BASE, DATA_LEN};

/// The stack's mapping grows down when something below it is touched, so far at most.
const STACK_GROWTH: u64 = 8 << 20;

/// Whether this process has memory at `address`, the windows apart.
pub(crate) fn only_the_host_has(address: u64) -> bool {
    let windows = [(CODE_BASE, CODE_LEN), (DATA_BASE, DATA_LEN)];
    if windows
        .iter()
        .any(|(base, length)| address.wrapping_sub(*base) < *length)
    {
        return false;
    }
    // Each line begins "start-end", in hexadecimal (proc(5)).
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().any(|line| {
        let (range, _) = line.split_once(' ').unwrap_or((line, ""));
        let bounds = range.split_once('-').map(|(start, end)| {
            let number = |digits| u64::from_str_radix(digits, 16).unwrap_or(0);
            (number(start), number(end))
        });
        bounds.is_some_and(|(start, end)| {
            let growth = if line.ends_with("[stack]") {
                STACK_GROWTH
            } else {
                0
            };
            (start.saturating_sub(growth)..end).contains(&address)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::only_the_host_has;

    #[test]
    fn knows_its_own_memory() {
        let here = 0_u8;
        assert!(only_the_host_has(&raw const here as u64));
        assert!(!only_the_host_has(1 << 46));
    }
}
