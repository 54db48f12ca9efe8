//! `cargo run --release`, as a newcomer runs it: private servers, a stop, a crash, a second start.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tests::http::Client;
use tests::process::Process;
use uuid::Uuid;

async fn free_address() -> String {
    tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().to_string()
}

fn start(data: &Path, http: &str) -> Process {
    let settings = [("ONHAND_CLIENT_KEY", "c".to_owned()), ("ONHAND_OPERATOR_KEY", "o".to_owned())];
    Process::start(&["--data", data.to_str().unwrap(), "--http", http, "--consumers", "2"], &settings)
}

async fn until_up(client: &Client) {
    tests::until("everything is up", async || {
        let answer = client.send(reqwest::Method::GET, "/readyz", &[], None).await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

/// The processes of this machine that name the data folder, by their command lines.
fn processes(data: &Path) -> Vec<(u32, String)> {
    let data = data.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&std::fs::read(process.path().join("cmdline")).ok()?).into_owned();
        line.contains(data).then_some((id, line))
    })
    .collect()
}

fn left_running(data: &Path) -> usize {
    processes(data).len()
}

fn guard(data: &Path) -> u32 {
    processes(data).into_iter().find(|(_, line)| line.contains(servers::GUARD_ARGUMENT)).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_survive_a_stop_and_a_crash_and_nothing_is_left_running() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let data = folder.path().join("data");
    let http = free_address().await;
    let client = Client::new(format!("http://{http}"), "c");
    let mut system = start(&data, &http);
    until_up(&client).await;
    let shop = "/products?limit=200";
    tests::until("the demo shop is there", async || {
        client.get(shop).await.body["items"].as_array().is_some_and(|items| items.len() == 50)
    })
    .await;
    let variants = async || {
        let products = client.get(shop).await.body["items"].as_array().unwrap().clone();
        products.iter().map(|product| product["variants"].as_array().unwrap().len()).sum::<usize>()
    };
    tests::until("its variants are there", async || variants().await == 75).await;
    assert_eq!(client.get("/categories").await.body["items"].as_array().unwrap().len(), 6);
    assert_eq!(client.get("/warehouses").await.body["items"].as_array().unwrap().len(), 3);
    let catalogue = client.get("/products?sku=POSTCARD").await;
    let product: Uuid = catalogue.body["items"][0]["id"].as_str().unwrap().parse().unwrap();
    let before = client.order_and_wait(&[(product, 1)]).await;
    assert_eq!(before.status, 201, "{before:?}");

    let mut second = start(&data, &free_address().await);
    assert!(!second.wait().await.success(), "a second start on the same data is refused");

    // The guard closes the servers of a run that was killed.
    system.kill().await;
    tests::until("nothing is left of the killed run", async || left_running(&data) == 0).await;
    let mut system = start(&data, &http);
    until_up(&client).await;
    assert_eq!(client.outcome(before.id()).await["status"], "paid");

    // Where the guard is killed as well, the next start ends the servers that were left.
    for process in [guard(&data), system.id()] {
        signal(process, "-KILL").await;
    }
    system.wait().await;
    assert!(left_running(&data) > 0, "servers without a guard");
    let mut system = start(&data, &http);
    until_up(&client).await;
    assert_eq!(client.outcome(before.id()).await["status"], "paid");
    let after = client.order_and_wait(&[(product, 1)]).await;
    assert_eq!(after.status, 201, "{after:?}");

    // As a terminal does, to the whole group: the guard of the servers hears it as well.
    for process in [guard(&data), system.id()] {
        signal(process, "-INT").await;
    }
    assert!(system.wait().await.success(), "Ctrl-C ends it cleanly");
    assert_eq!(left_running(&data), 0);
    std::fs::remove_dir_all(&data).unwrap();
}

async fn signal(process: u32, signal: &str) {
    let status = tokio::process::Command::new("kill").args([signal, &process.to_string()]).status().await;
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_at_once() {
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut refused = start(&data, &taken.local_addr().unwrap().to_string());
    let ended = tokio::time::timeout(Duration::from_secs(10), refused.wait()).await;
    assert!(!ended.unwrap().success());
    assert!(!data.exists(), "nothing was begun: {}", json!(data));
}
