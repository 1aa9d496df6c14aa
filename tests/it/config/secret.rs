//! Secrets are places: never shown, read without white space.

use jumpstream::config::{Config, Secret};

use super::{LEAST, account, check, environment, kafka, parse, parse_with, with};

#[test]
fn a_secret_is_never_shown_wherever_it_was_put() {
    const SECRET: &str = "jca_s3cretS3cretS3cret0123456789012345";
    let texts = [
        format!("accounts: [{{api_key: {SECRET}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{{SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: [{SECRET}]}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{env: {SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{file: {SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{value: {SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{SECRET}]\nsinks: [{{type: stdout}}]"),
        format!("{SECRET}: 5\n{LEAST}"),
        account(&format!("region: {SECRET}")),
        account(&format!("services: [{SECRET} x]")),
        account(&format!("organizations: [{SECRET}]")),
        account(&format!("endpoint: \"https://user:{SECRET}@example.com\"")),
        account(&format!("endpoint: {SECRET}")),
        kafka(&format!("properties: {{sasl.password: {SECRET}}}")),
        kafka(&format!("properties: {{ssl.key.password: {SECRET}}}")),
        kafka(&format!("properties: {{linger.ms: {SECRET}}}")),
        kafka(&format!("properties: {{{SECRET}: 5}}")),
        kafka(&format!("sasl: {{mechanism: PLAIN, username: u, password: {SECRET}}}")),
        kafka("").replace("k:9092", &format!("user:{SECRET}@k:9092")),
        with("", "type: stdout", &format!("page: {{token: {SECRET}}}")),
        // Too short to look like a key, but where a secret's place belongs.
        kafka("sasl: {mechanism: PLAIN, username: u, password: {s3cret}}"),
        kafka("sasl: {mechanism: PLAIN, username: u, password: {env: s3cret}}"),
        kafka("sasl: {mechanism: PLAIN, username: u, password: s3cret}"),
    ];
    for text in texts {
        let refused = parse(&text).expect_err(&text);
        assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused}");
        assert!(!refused.faults.is_empty());
    }
    let refused = parse_with(LEAST, &[("JUMPSTREAM_ACCOUNTS_0_API_KEY", SECRET)]).unwrap_err();
    assert!(refused.faults[0].remedy.contains("a name of your own"), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused}");
    assert!(refused.to_string().contains("JUMPSTREAM_ACCOUNTS_0_API_KEY: accounts[0].api_key"), "{refused}");
    let known = environment(&[("THE_KEY", SECRET)]);
    let text = "accounts: [{api_key: {env: THE_KEY}}]\nsinks: [{type: stdout}]";
    let (config, _) = Config::parse("c.yaml", text, &known).expect("a set variable");
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn a_secret_is_read_from_its_place_without_white_space() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "  s3cret\n\n").unwrap();
    let secret = Secret::File(path.clone());
    assert_eq!(secret.read().unwrap().expose_secret(), "s3cret");
    std::fs::write(&path, " \n").unwrap();
    assert!(secret.read().unwrap_err().to_string().contains("is empty"));
    std::fs::write(&path, "s3cret".repeat(20_000)).unwrap();
    let error = secret.read().unwrap_err().to_string();
    assert!(error.contains("larger than 64 KiB") && !error.contains("s3cret"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(secret.read().unwrap_err().to_string().contains("put it there"));
    assert!(Secret::Env("JUMPSTREAM_TEST_UNSET".into()).read().unwrap_err().to_string().contains("isn't set"));
}

#[test]
fn a_secret_needs_one_place_that_exists() {
    let text = |place: &str| format!("accounts: [{{api_key: {place}}}]\nsinks: [{{type: stdout}}]");
    check(&text("{file: /a, env: B}"), "expected either `file` or `env`", "{file: …}");
    check(&text("{}"), "expected either `file` or `env`", "{file: …}");
    check(&text("{env: UNSET_HERE}"), "the variable UNSET_HERE isn't set", "set it");
    check("accounts: [{}]\nsinks: [{type: stdout}]", "a key is missing here", "api_key: {file:");
}
