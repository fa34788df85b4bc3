//! What the processes that stay give back: a start and a large plan touch much that is not needed again.

use std::time::{Duration, Instant};

use nix::libc;

/// How long nothing must happen before memory is given back: what happens again soon would only fetch
/// it again.
pub const REST: Duration = Duration::from_secs(1);

/// Gives back once it is time, and tells whether it was; `rest` is none then.
pub fn give_back_after(rest: &mut Option<Instant>) -> bool {
    let over = rest.is_some_and(|rest| Instant::now() >= rest);
    if over {
        *rest = None;
        give_back();
    }
    over
}

/// Has all threads share one heap. Those of this process that stay are few and mostly wait, and each
/// heap of its own keeps what it once had. To be called before threads are made.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back the heap's free pages, and unmaps the program's pages: they stay in the page cache,
/// and those that are needed come back as they are touched.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only returns what is free.
    unsafe {
        libc::malloc_trim(0);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(program_pages) {
        // SAFETY: the pages are a file's, mapped and never written: they read the same again.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
        }
    }
}

/// The pages of a line of /proc/PID/maps if they are code, or constants that need no relocation:
/// those that do are behind the code, and were written.
fn program_pages(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
    let path = words.nth(2)?;
    let as_in_file = match rights {
        "r-xp" => true,
        "r--p" => usize::from_str_radix(offset, 16).ok()? == 0,
        _ => false,
    };
    let (start, end) = range.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    (as_in_file && path.starts_with('/')).then_some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_read_the_same_again_are_given_back() {
        let lines = [
            ("55d0-55e0 r--p 00000000 fe:00 12 /usr/bin/swarmlb", Some((0x55d0, 0x55e0))),
            ("55e0-55f0 r-xp 00010000 fe:00 12 /usr/bin/swarmlb", Some((0x55e0, 0x55f0))),
            ("55f0-5600 r--p 00020000 fe:00 12 /usr/bin/swarmlb", None),
            ("5600-5610 rw-p 00030000 fe:00 12 /usr/bin/swarmlb", None),
            ("7f00-7f10 rw-s 00000000 00:01 3 /memfd:queries (deleted)", None),
            ("7f10-7f20 r-xp 00000000 00:00 0 [vdso]", None),
            ("7f20-7f30 rw-p 00000000 00:00 0", None),
            ("", None),
        ];
        for (line, pages) in lines {
            assert_eq!(program_pages(line), pages, "{line}");
        }
    }
}
