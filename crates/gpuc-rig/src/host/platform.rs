//! Operating system, container, WSL2, and whether a GPU is passed through.

use std::fs;
use std::path::Path;

use gpuc_core::document::Platform;

/// What PID 1's control groups are called by each container runtime.
const TOKENS: [(&str, &str); 8] = [
    ("docker", "docker"),
    ("libpod", "podman"),
    ("podman", "podman"),
    ("kubepods", "kubernetes"),
    ("containerd", "containerd"),
    ("crio", "cri-o"),
    ("lxc", "lxc"),
    ("garden", "garden"),
];

/// The platform this runs on. `root` is `/`, but for tests.
pub fn platform(root: &Path) -> Platform {
    let os = std::env::consts::OS;
    let wsl2 = os == "linux" && is_wsl2(root);
    let container = if os == "linux" { container(root) } else { None };
    Platform {
        os: os.into(),
        in_container: container.is_some(),
        wsl2,
        nvidia_runtime: container.is_some().then(|| passes_gpu(root)),
        container_runtime: container.map(Into::into),
        uvm_oversubscription: (wsl2 || os == "windows").then_some(false),
    }
}

/// The container's runtime; nothing outside a container.
fn container(root: &Path) -> Option<&'static str> {
    if root.join(".dockerenv").exists() {
        return Some("docker");
    }
    let groups = fs::read_to_string(root.join("proc/1/cgroup")).unwrap_or_default();
    let by_group = TOKENS
        .iter()
        .find(|(token, _)| groups.contains(token))
        .map(|(_, name)| *name);
    if root.join("run/.containerenv").exists() {
        return by_group.or(Some("podman"));
    }
    by_group
}

fn is_wsl2(root: &Path) -> bool {
    ["proc/version", "proc/sys/kernel/osrelease"]
        .iter()
        .any(|file| {
            fs::read(root.join(file)).is_ok_and(|text| {
                String::from_utf8_lossy(&text)
                    .to_lowercase()
                    .contains("microsoft")
            })
        })
}

fn passes_gpu(root: &Path) -> bool {
    ["dev/nvidia0", "dev/dxg", "proc/driver/nvidia/version"]
        .iter()
        .any(|file| root.join(file).exists())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_files_of_a_root_say() {
        // (files, in a container, its runtime, a GPU passed through, WSL2)
        type Case<'a> = (
            &'a [(&'a str, &'a str)],
            bool,
            Option<&'a str>,
            Option<bool>,
            bool,
        );
        let wsl = "Linux version 6.6.87-Microsoft-standard-WSL2";
        let cases: [Case<'_>; 8] = [
            (&[], false, None, None, false),
            (
                &[("proc/1/cgroup", "0::/init.scope\n")],
                false,
                None,
                None,
                false,
            ),
            (&[("proc/version", wsl)], false, None, None, true),
            (
                &[
                    ("proc/sys/kernel/osrelease", "5.15-microsoft"),
                    (".dockerenv", ""),
                    ("dev/dxg", ""),
                ],
                true,
                Some("docker"),
                Some(true),
                true,
            ),
            (
                &[("run/.containerenv", "")],
                true,
                Some("podman"),
                Some(false),
                false,
            ),
            (
                &[
                    ("proc/1/cgroup", "12:memory:/kubepods/pod1\n"),
                    ("dev/nvidia0", ""),
                ],
                true,
                Some("kubernetes"),
                Some(true),
                false,
            ),
            (
                &[("proc/1/cgroup", "1:name=systemd:/lxc/a")],
                true,
                Some("lxc"),
                Some(false),
                false,
            ),
            (
                &[("proc/1/cgroup", "1:cpu:/docker/0a")],
                true,
                Some("docker"),
                Some(false),
                false,
            ),
        ];
        for (files, in_container, runtime, gpu, wsl2) in cases {
            let root = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let found = platform(root.path());
            assert_eq!(found.os, "linux");
            assert_eq!(found.in_container, in_container, "{files:?}");
            assert_eq!(found.container_runtime.as_deref(), runtime, "{files:?}");
            assert_eq!(found.nvidia_runtime, gpu, "{files:?}");
            assert_eq!(found.wsl2, wsl2, "{files:?}");
            assert_eq!(
                found.uvm_oversubscription,
                wsl2.then_some(false),
                "{files:?}"
            );
        }
    }
}
