//! What a step sees and may use at the level `strict`: the system's programs, and nothing of the
//! host beside them.

use super::mounts::Args;
use super::programs::TRUSTED_PATH;
use super::{Jail, Network, Visible, write_for};
use crate::config::Strict;
use crate::error::Error;
use std::path::{Path, PathBuf};

/// The id that a step has inside, whatever it is outside.
pub(super) const INSIDE_ID: u32 = 1000;
/// Where a step's home folder is.
pub(super) const HOME: &str = "/home/metabuilder";
/// Folders of programs; links stay links.
const SYSTEM: &[&str] = &["/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"];
/// What of `/etc` programs cannot do without. Names, keys and addresses of this machine are not in
/// it.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "perl",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/certs",
    "protocols",
    "python3",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];
/// Variables of the runner that say how text is written.
pub(super) const PASSED: &[&str] = &["LANG", "LC_ALL", "LC_CTYPE", "TZ"];

impl Visible {
    /// Leaves only what the level `strict` shows.
    pub(super) fn restrict(&mut self, limits: &Strict, extra_path: &[PathBuf]) {
        self.home = PathBuf::from(HOME);
        let system = std::env::split_paths(TRUSTED_PATH);
        self.path = extra_path.iter().cloned().chain(system).collect();
        let mut passed: Vec<String> = PASSED.iter().map(|name| (*name).to_owned()).collect();
        passed.extend(limits.env.iter().cloned());
        self.passed = Some(passed);
    }

    /// Shows the system, and answers the files of the runner's own that are among it.
    pub(super) fn strict_mounts(
        &self,
        jail: &Jail,
        limits: &Strict,
        launch: &Path,
        args: &mut Args,
    ) -> Result<Vec<PathBuf>, Error> {
        args.limit_scratch(limits.scratch.0);
        args.bind("--ro-bind", Path::new("/usr"), Path::new("/usr"));
        for folder in SYSTEM.iter().map(Path::new) {
            let Ok(meta) = folder.symlink_metadata() else { continue };
            match std::fs::read_link(folder) {
                Ok(target) => args.bind("--symlink", &target, folder),
                Err(_) if meta.is_dir() => args.bind("--ro-bind", folder, folder),
                Err(_) => {}
            }
        }
        for path in ETC.iter().map(|name| Path::new("/etc").join(name)) {
            args.bind("--ro-bind-try", &path, &path);
        }
        if jail.network != Network::None {
            let resolver = Path::new("/etc/resolv.conf");
            args.bind("--ro-bind-try", resolver, resolver);
        }
        args.words(&["--proc", "/proc", "--dev", "/dev"]);
        for folder in ["/dev/shm", "/tmp", "/var/tmp"] {
            args.scratch(Path::new(folder));
        }
        let cpus = Path::new("/sys/devices/system/cpu");
        args.bind("--ro-bind-try", cpus, cpus);
        match &jail.home {
            Some(private) => args.bind("--bind", private, &self.home),
            None => args.scratch(&self.home),
        }
        for path in &limits.shown {
            args.bind("--ro-bind", path, path);
        }
        let mut own = Vec::new();
        for (name, text) in names() {
            let path = launch.with_file_name(name);
            write_for(&path, text.as_bytes(), jail.owner)?;
            args.bind("--ro-bind", &path, &Path::new("/etc").join(name));
            own.push(path);
        }
        Ok(own)
    }
}

/// Users, groups and hosts as they are inside.
fn names() -> [(&'static str, String); 3] {
    let passwd = format!(
        "root:x:0:0:root:/:/usr/sbin/nologin\n\
         metabuilder:x:{INSIDE_ID}:{INSIDE_ID}:metabuilder:{HOME}:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nmetabuilder:x:{INSIDE_ID}:\nnogroup:x:65534:\n");
    let hosts = "127.0.0.1 localhost metabuilder\n::1 localhost\n".to_owned();
    [("passwd", passwd), ("group", group), ("hosts", hosts)]
}

impl Strict {
    /// Options of `prlimit`; `processes` is another limit than that of the configuration.
    pub(super) fn words(&self, processes: Option<u64>) -> Vec<String> {
        let processes = processes.unwrap_or(self.processes).min(super::launch::processes_max());
        // Address space is no measure of memory: runtimes reserve what they never touch.
        [
            ("core", 0),
            ("nproc", processes),
            ("data", self.memory.0),
            ("fsize", self.file.0),
            ("nofile", self.open_files),
        ]
        .map(|(name, value)| format!("--{name}={value}:{value}"))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_words() {
        let limits = Strict { processes: 12, ..Strict::default() };
        let words = limits.words(None);
        assert!(words.contains(&"--nproc=12:12".to_owned()), "{words:?}");
        assert!(words.contains(&format!("--data={0}:{0}", 4u64 << 30)), "{words:?}");
        assert!(limits.words(Some(1)).contains(&"--nproc=1:1".to_owned()));
    }
}
