//! What a Yocto build does with `pvr` when its packages are signed: each recipe makes an export with a signature over its
//! part, the image deploys them all into one `trails/0` and signs what is left, and a device in strict mode takes that.
#![allow(clippy::duplicate_mod)] // both kinds of helpers bring along how the program is found

mod deploying;
#[path = "client/pvr.rs"]
mod pvr;

use std::fs;
use std::path::Path;

use deploying::{BSP, mode, same};
use pvr::{Home, Ran};
use sha2::{Digest, Sha256};

fn vector(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/keys").join(name).to_str().unwrap().to_owned()
}

const TARGET: &str = "s/trails/0";

/// A build: a key of its own, and settings of its own, as the classes call `pvr`.
struct Build {
    home: Home,
    key: [String; 2],
}

impl Build {
    fn pvr(&self, folder: &str, args: &[&str]) -> Ran {
        let settings = self.home.at("settings");
        let env = [
            ("PVR_CONFIG_DIR", settings.to_str().unwrap()),
            ("PVR_DISABLE_SELF_UPGRADE", "true"),
            ("PVR_SIG_KEY", &self.key[0]),
            ("PVR_X5C_PATH", &self.key[1]),
        ];
        self.home.run(folder, args, &env)
    }

    /// What a recipe leaves: these files, exported; with a signature over them if `sign` says what it covers.
    fn package(&self, name: &str, files: &[(&str, &[u8])], sign: &[&str]) {
        for (path, bytes) in files {
            self.home.write(&format!("{name}/{path}"), bytes);
        }
        self.pvr(name, &["init"]).code(0);
        self.pvr(name, &["add"]).code(0);
        self.pvr(name, &["commit"]).code(0);
        if !sign.is_empty() {
            self.pvr(name, &[&["sig", "add"], sign].concat()).code(0);
            self.pvr(name, &["add"]).code(0);
            self.pvr(name, &["commit"]).code(0);
        }
        self.pvr(name, &["export", &format!("../{name}.tgz")]).code(0);
    }

    /// The verdict of a device on `trails/0`.
    fn check(&self, policy: &str) -> Ran {
        self.pvr(TARGET, &["sig", "check", "--policy", policy, "--cacerts", &vector("root.pem")])
    }
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn signed_packages_in_one_revision_that_a_strict_device_takes() {
    for (key, chain) in [("rsa.key", "rsa.chain.pem"), ("ec.key", "ec.chain.pem")] {
        let build = Build { home: Home::new(), key: [vector(key), vector(chain)] };
        let home = &build.home;
        build.package("bsp", BSP, &["--part", "bsp"]);
        let app: &[(&str, &[u8])] = &[
            ("app/root.squashfs", b"root"),
            ("app/run.json", br##"{"#spec":"service-manifest-run@1","name":"app"}"##),
            ("app/src.json", b"{}"),
        ];
        // Its configuration is somebody else's.
        build.package("app", app, &["--noconfig", "--part", "app"]);
        build.package(
            "config",
            &[("_config/app/etc/x", b"x")],
            &["--raw", "app-config", "--include", "_config/app/**"],
        );

        home.write("s/trails/0/device.json", r#"{"groups":[]}"#);
        build.pvr(TARGET, &["init", "--objects=../../objects"]).code(0);
        build.pvr(TARGET, &["add"]).code(0);
        build.pvr(TARGET, &["commit"]).code(0);
        let target = home.at(TARGET);
        let target = target.to_str().unwrap();
        build.pvr("", &["deploy", target, "bsp.tgz", "app.tgz"]).code(0);
        build.pvr("", &["deploy", target, "config.tgz"]).code(0);

        // What the image itself brings is covered by no package.
        let before = build.check("strict").code(1);
        assert_eq!(build.check("lenient").code, Some(0));
        let refused: Vec<&str> = before.out.lines().filter(|line| line.starts_with("refused: ")).collect();
        let uncovered = ["#spec", "device.json"].map(|key| format!("refused: {key}: no good signature covers it"));
        assert_eq!(refused, uncovered, "{before:#?}");

        build.pvr(TARGET, &["sig", "add", "--raw", "root", "-i", "#spec", "-i", "device.json"]).code(0);
        build.pvr(TARGET, &["add"]).code(0);
        build.pvr(TARGET, &["commit"]).code(0);
        for policy in ["strict", "hardened"] {
            let taken = build.check(policy).code(0);
            for signature in ["app", "app-config", "bsp", "root"] {
                assert!(taken.out.contains(&format!("_sigs/{signature}.json: ")), "{taken:#?}");
            }
            assert_eq!(taken.out.matches(": good\n").count(), 4, "{taken:#?}");
        }

        // A package that comes later, held to the policy of the device it goes to.
        let strict = ["--policy", "strict", "--cacerts", &vector("root.pem")];
        build.package("late", &[("late/run.json", br#"{"name":"late"}"#)], &["--part", "late"]);
        build.package("bare", &[("bare/run.json", br#"{"name":"bare"}"#)], &[]);
        build.pvr("", &[&["deploy"], &strict[..], &[target, "late.tgz"]].concat()).code(0);
        let state = home.read("s/trails/0/.pvr/json");
        build
            .pvr("", &[&["deploy"], &strict[..], &[target, "bare.tgz"]].concat())
            .code(6)
            .says("bare/run.json: no good signature covers it");
        assert_eq!(home.read("s/trails/0/.pvr/json"), state);
        build.check("strict").code(0);

        // The revision is one that a device boots, and its signatures are what is said of it.
        let objects = home.at("s/objects");
        for (name, bytes) in [(".pv/pv-kernel.img", &b"a kernel"[..]), ("app/root.squashfs", b"root")] {
            let file = home.at(TARGET).join(name);
            assert!(same(&file, &objects.join(sha(bytes))), "{name}");
            assert_eq!(mode(&file), 0o444, "{name}");
        }
        assert_eq!(build.pvr(TARGET, &["status"]).code(0).out, "");
        let mut fsck = pvr::program::command();
        let fsck = fsck.args(["fsck", "--storage"]).arg(home.at("s")).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));

        // One byte of what a package brought, or of what the image did.
        for (file, text, key) in [
            ("app/run.json", r##"{"#spec":"service-manifest-run@1","name":"apq"}"##, "_sigs/app.json"),
            ("device.json", r#"{"groups":[{}]}"#, "_sigs/root.json"),
        ] {
            let path = home.at(TARGET).join(file);
            let was = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, text).unwrap();
            build.pvr(TARGET, &["commit"]).code(0);
            let ran = build.check("strict").code(1);
            assert!(ran.out.contains(&format!("refused: {key}: ")), "{ran:#?}");
            fs::write(&path, was).unwrap();
            build.pvr(TARGET, &["commit"]).code(0);
            build.check("strict").code(0);
        }
    }
}
