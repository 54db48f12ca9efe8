//! What a program refuses to start with.

use common::db;
use tests::app::TestApp;
use tests::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_number_of_partitions_is_refused() {
    let app = TestApp::start().await;
    let error = db::setup::migrate(&mut app.database().await, Some(5)).await.unwrap_err();
    assert!(matches!(error, db::Error::OtherPartitions { stored: 4, configured: 5 }), "{error}");
    let mut settings = app.settings.clone();
    settings.push(("ONHAND_PARTITIONS", "5".to_owned()));
    settings.push(("ONHAND_HTTP", "127.0.0.1:0".to_owned()));
    for program in [&["consumer"][..], &["consumer", "migrate"], &["api"], &["api", "migrate"]] {
        assert!(!Process::start(program, &settings).wait().await.success(), "{program:?}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_refused() {
    for (name, value) in [
        ("ONHAND_PARTITIONS", "0"),
        ("ONHAND_PARTITIONS", "257"),
        ("DATABASE_URL", "nonsense"),
        ("AMQP_URL", "http://localhost"),
        ("ONHAND_LEASE_MS", "soon"),
    ] {
        let mut settings = vec![
            ("DATABASE_URL", "postgres://localhost/onhand".to_owned()),
            ("AMQP_URL", "amqp://localhost".to_owned()),
        ];
        settings.push((name, value.to_owned()));
        assert!(!Process::start(&["consumer"], &settings).wait().await.success(), "{name}={value}");
    }
}
