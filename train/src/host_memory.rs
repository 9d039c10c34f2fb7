//! How much memory a run may take on the host: what the machine has free, and what the limits of the control groups leave in which the
//! process runs, as those of a container.
//!
//! `sysinfo` knows such limits too. It counts cached files as used, though, and a data set that was just read is cached: here they are not,
//! since the kernel drops them before it refuses a program.

use std::fs;
use std::path::{Path, PathBuf};

use rewind::device::Device;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Bytes that may be taken, and what says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// What leaves so many, as a sentence's subject and verb.
    pub says: &'static str,
}

impl Room {
    /// What the device has free, and where its tensors lie in the host's memory what the limits of its control groups leave, if that is
    /// less. None where nobody tells.
    pub fn of<D: Device>(d: &D) -> Option<Self> {
        match d.device_memory() {
            Some(_) => d.available_bytes().map(Self::free),
            None => Self::of_host(),
        }
    }

    /// The same of the host.
    pub fn of_host() -> Option<Self> {
        host_available().map(Self::free).into_iter().chain(Self::in_groups(Path::new("/"))).min_by_key(|r| r.bytes)
    }

    fn free(bytes: u64) -> Self {
        Self { bytes, says: "the free memory is" }
    }

    /// What the control groups of this process leave. `root` is `/`, or a folder that stands for it.
    pub(crate) fn in_groups(root: &Path) -> Option<Self> {
        let says = "what the memory limit of its container (cgroup) leaves is";
        left_in_groups(root).map(|bytes| Self { bytes, says })
    }
}

/// Bytes that the system could give without swapping; none where it does not tell.
fn host_available() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    (system.total_memory() > 0).then(|| system.available_memory())
}

/// Files of a control group: its limit, what it uses, and the line of `memory.stat` that counts what of that are cached files not
/// lately used.
struct Names {
    limit: &'static str,
    usage: &'static str,
    cached: &'static str,
}

const V2: Names = Names { limit: "memory.max", usage: "memory.current", cached: "inactive_file" };
const V1: Names =
    Names { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cached: "total_inactive_file" };

/// Bytes that the control groups of this process leave, the tightest of the group and all those around it; none where there is no
/// limit.
fn left_in_groups(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let lefts = groups.lines().filter_map(|line| {
        // 4:memory:/a/b, or 0::/a/b of version 2
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let names = match controllers {
            "" => V2,
            _ if controllers.split(',').any(|name| name == "memory") => V1,
            _ => return None,
        };
        let within = mounts.lines().find_map(|mount| mounted(mount, &names, group))?;
        left(root, &within, &names)
    });
    lefts.min()
}

/// Where a group's files are.
struct Place {
    /// Where the tree of groups is mounted.
    mount: PathBuf,
    /// The group's folder, in it.
    group: PathBuf,
}

/// The place of a group, if `line` of mountinfo is the mount of its tree.
fn mounted(line: &str, names: &Names, group: &str) -> Option<Place> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut kind = kind.split_whitespace();
    let (system, options) = (kind.next()?, kind.nth(1)?);
    let fits = match names.limit == V2.limit {
        true => system == "cgroup2",
        false => system == "cgroup" && options.split(',').any(|option| option == "memory"),
    };
    let mut fields = mount.split_whitespace().skip(3);
    let (top, point) = (fields.next()?, fields.next()?);
    // Within a container the mount may begin at the container's own group, whose path may yet be told from the machine's root.
    let group = Path::new(group).strip_prefix(top).ok().or(Path::new(group).strip_prefix("/").ok())?;
    fits.then(|| Place { mount: point.trim_start_matches('/').into(), group: group.into() })
}

/// The least that the group at `place` and those around it leave.
fn left(root: &Path, place: &Place, names: &Names) -> Option<u64> {
    let mount = root.join(&place.mount);
    let folders = place.group.ancestors().map(|group| mount.join(group));
    folders.filter_map(|folder| left_in(&folder, names)).min()
}

/// What one group leaves: its limit less what it uses, but for cached files. None if it has no limit.
fn left_in(folder: &Path, names: &Names) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // "max" is no number; version 1 has a number that no machine reaches
    let limit = number(names.limit)?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(names.cached)?.trim().parse::<u64>().ok());
    let used = number(names.usage).unwrap_or(0).saturating_sub(cached.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder that stands for `/`.
    pub(crate) fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// A container whose group is its root.
    pub(crate) fn container(limit: &str) -> tempfile::TempDir {
        root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:4 - cgroup2 cgroup rw,nsdelegate\n"),
            ("sys/fs/cgroup/memory.max", limit),
            ("sys/fs/cgroup/memory.current", "3000000\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1\nfile 2500000\ninactive_file 1000000\nactive_file 1500000\n"),
        ])
    }

    fn left(root: &tempfile::TempDir) -> Option<u64> {
        left_in_groups(root.path())
    }

    #[test]
    fn a_container_leaves_its_limit_less_what_is_used_but_for_cached_files() {
        assert_eq!(left(&container("10000000\n")), Some(8_000_000));
        assert_eq!(left(&container("max\n")), None);
        // more is used than a limit that was lowered since
        assert_eq!(left(&container("1000000\n")), Some(0));
    }

    #[test]
    fn of_nested_groups_the_tightest_counts() {
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let files = |outer, inner| {
            root(&[
                ("proc/self/cgroup", "0::/user.slice/job/step\n"),
                ("proc/self/mountinfo", mount),
                ("sys/fs/cgroup/user.slice/memory.max", outer),
                ("sys/fs/cgroup/user.slice/memory.current", "600"),
                ("sys/fs/cgroup/user.slice/job/memory.max", "max"),
                ("sys/fs/cgroup/user.slice/job/memory.current", "500"),
                ("sys/fs/cgroup/user.slice/job/step/memory.max", inner),
                ("sys/fs/cgroup/user.slice/job/step/memory.current", "400"),
            ])
        };
        assert_eq!(left(&files("1000", "900")), Some(400));
        assert_eq!(left(&files("1000", "700")), Some(300));
        assert_eq!(left(&files("max", "700")), Some(300));
        assert_eq!(left(&files("max", "max")), None);
    }

    #[test]
    fn version_1_is_read_where_memory_is_its() {
        let files = |mounts, group| {
            root(&[
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mounts),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5000\n"),
                ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "3000\n"),
                ("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
                ("sys/fs/cgroup/unified/memory.max", "1"),
            ])
        };
        let both = "32 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    33 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let groups = "5:cpu,cpuacct:/elsewhere\n4:memory:/job\n";
        assert_eq!(left(&files(both, groups)), Some(2500));
        // within a container that sees the machine's path, though its own group is mounted as the root
        let container = "32 31 0:32 /docker/a /sys/fs/cgroup/memory/job ro - cgroup cgroup rw,memory\n";
        assert_eq!(left(&files(container, "4:memory:/docker/a\n")), Some(2500));
        // no limit is a number that no machine reaches
        assert_eq!(left(&files(both, "4:memory:/\n")), Some(9_223_372_036_854_771_712));
    }

    #[test]
    fn a_machine_without_groups_has_no_limit() {
        assert_eq!(left(&root(&[])), None);
        assert_eq!(left(&root(&[("proc/self/cgroup", "nonsense\n"), ("proc/self/mountinfo", "nonsense\n")])), None);
        assert_eq!(
            left(&root(&[("proc/self/cgroup", "0::/a\n"), ("proc/self/mountinfo", "1 2 3:4 / / rw - ext4 a rw\n")])),
            None
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_tells_what_is_free() {
        let free = host_available().unwrap();
        let (engines, near) = (rewind::host::available_bytes().unwrap(), 1 << 30);
        assert!(free > 0 && free.abs_diff(engines) < near, "{free} and {engines}");
    }
}
