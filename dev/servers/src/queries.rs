//! The query data in `.sqlx`: what the compiler checks queries against, so that a build needs no database. Made anew by
//! compiling `common` against a private database that has just been migrated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

const COMMITTED: &str = ".sqlx";
const MIGRATIONS: &str = "migrations";

/// Makes the query data anew; with `check`, only tells whether what is committed is up to date.
pub(crate) async fn prepare(database_url: &str, check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    migrate(&root, database_url).await?;
    let fresh = tempfile::tempdir()?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        // A flag that was never used before compiles `common` again, and nothing else.
        .args(["rustc", "--quiet", "-p", "common", "--lib", "--profile", "check", "--", "--cfg"])
        .arg(format!("queries_{:032x}", rand::random::<u128>()))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", fresh.path())
        .env("DATABASE_URL", database_url)
        .current_dir(&root)
        .status()
        .await?;
    ensure!(status.success(), "a query does not fit the schema (see above)");
    let (committed, fresh) = (read(&root.join(COMMITTED))?, read(fresh.path())?);
    if check {
        ensure!(committed == fresh, "{COMMITTED} is out of date: run `cargo run -p servers -- queries` and commit it");
        println!("{} queries fit the schema", fresh.len());
        return Ok(());
    }
    let folder = root.join(COMMITTED);
    fs::create_dir_all(&folder)?;
    for name in committed.keys().filter(|name| !fresh.contains_key(*name)) {
        fs::remove_file(folder.join(name))?;
    }
    for (name, contents) in &fresh {
        fs::write(folder.join(name), contents)?;
    }
    println!("{} queries written to {COMMITTED}", fresh.len());
    Ok(())
}

async fn migrate(root: &Path, database_url: &str) -> Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root.join(MIGRATIONS))?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let mut psql = Command::new("psql");
        psql.args(["--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file"]);
        let status = psql.arg(&file).arg(database_url).status().await.context("psql can't be run")?;
        if !status.success() {
            bail!("{} has failed (see above)", file.display());
        }
    }
    Ok(())
}

fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(files)
}
