//! What an event of each service looks like: JSON text with places left open for what differs from event to event.
//!
//! The shapes follow insights-api §2.1 to §2.3, oddities included; every name and address is invented.

use super::random::Random;

const PLACES: &[&str] = &[
    r#"{"country_code":"CZ","region_code":"10","region_name":"Hlavní město Praha","continent_code":"EU","timezone":"Europe/Prague","latitude":50.08,"longitude":14.42}"#,
    r#"{"country_code":"JP","region_code":"13","region_name":"東京都","continent_code":"AS","timezone":"Asia/Tokyo","latitude":35.6893,"longitude":139.6899}"#,
    r#"{"country_code":"US","region_code":"CO","region_name":"Colorado","continent_code":"NA","timezone":"America/Denver","latitude":40.015,"longitude":-105.2705}"#,
    r#"{"country_code":"BR","region_code":"SP","region_name":"São Paulo","continent_code":"SA","timezone":"America/Sao_Paulo","latitude":-23.5505,"longitude":-46.6333}"#,
    r#"{"country_code2":"GB","region_code":"ENG","region_name":"England","continent_code":"EU","timezone":"Europe/London","latitude":51.5,"longitude":0}"#,
    r#"{"geoip":{"country_code":"IL","region_code":"TA","region_name":"תל אביב","continent_code":"AS","timezone":"Asia/Jerusalem","latitude":32.07,"longitude":34.78}}"#,
    r#"{"country_code":"DE","region_code":"BY","region_name":null,"continent_code":"EU","timezone":"Europe/Berlin","latitude":null,"longitude":null}"#,
];

const AGENTS: &[&str] = &[
    r#"{"name":"Firefox","os":"Linux","os_name":"Linux","os_full":"Linux","os_version":"","major":"140","minor":"0","patch":"","version":"140.0","device":"Other","build":""}"#,
    r#"{"name":"Chrome","os":"Mac OS X","os_name":"Mac OS X","os_full":"Mac OS X 15.3.1","os_version":"15.3.1","os_major":"15","os_minor":"3","os_patch":"1","major":"133","minor":"0","patch":"6943","version":"133.0.6943.142","device":"Mac","build":""}"#,
    r#"{"name":"Edge","os":"Windows","os_name":"Windows","os_full":"Windows 11","os_version":"11","os_major":"11","major":"133","minor":"0","patch":"3065","version":"133.0.3065.69","device":"Other","build":""}"#,
    r#"{"name":"Other","os":"Other","os_name":"Other","os_full":"Other","version":"","device":"Other"}"#,
    r#"{"name":"Mobile Safari","os":"iOS","os_name":"iOS","os_full":"iOS 18.3","os_version":"18.3","os_major":"18","os_minor":"3","major":"18","minor":"3","version":"18.3","device":"iPhone","build":""}"#,
];

/// Lists of changes as odd as those that cost other collectors their events (elastic/integrations #8298).
const CHANGES: &[&str] = &[
    r#"[{"field":"department","to":"Ops"},{"field":"suspended","from":false,"to":true},{"field":"phoneNumbers","from":[{"id":"a1","_id":"a1","type":"work","number":"1"}],"to":[]},{"field":"manager","from":null,"to":{"id":"5f00000000000000000000d3"}}]"#,
    r#"[{"field":"displayname","from":"Žofie \"Zoë\" Nováková","to":"J\\J | a=b ] c\td\ne"},{"field":"uid","from":5001,"to":5002.5e1}]"#,
    r#"[{"field":"attributes","from":{"costCenter":{"code":17,"tags":["α","β",null,true,[1,[2]]]}},"to":null}]"#,
    r#"[{"field":"mfa.exclusionUntil","to":"2026-12-31T23:59:59.999999999Z"},{"field":"bell","to":"\u0007\u001b[31mred\u001b[0m\u0000"}]"#,
    r#"[{"field":"password"}]"#,
    "[]",
];

const APPLICATIONS: &[&str] = &[
    r#"{"id":"5f00000000000000000000e5","name":"slack","display_label":"Slack EU","sso_type":"saml","sso_url":"https://sso.jumpcloud.com/saml2/slack-eu"}"#,
    r#"{"id":"5f00000000000000000000e6","name":"aws","display_label":"AWS – Produktion (Köln)","sso_type":"saml","sso_url":"https://sso.jumpcloud.com/saml2/aws-prod"}"#,
    r#"{"id":"","name":"","display_label":"","sso_type":"oidc","sso_url":""}"#,
    r#"{"id":"5f00000000000000000000e7","name":"custom-oidc","display_label":"Účetnictví 会計","sso_type":"oidc","sso_url":"https://oauth.id.jumpcloud.com"}"#,
];

/// Large events' sizes in bytes: an mdm profile list is 70 KB and more (insights-api §2.3).
pub(super) const LARGE: [usize; 8] = [70_000, 75_000, 80_000, 90_000, 110_000, 140_000, 210_000, 500_000];

/// An event with `‹marks›` where the renderer fills in: id, uuid, time, organization, user, uid, ip.
pub(super) fn compose(service: &str, event_type: &str, variant: u64, random: &mut Random) -> String {
    let id = if service == "radius" { "‹uuid›" } else { "‹id›" };
    let envelope = format!(r#""id":"{id}","event_type":"{event_type}","service":"{service}","timestamp":"‹time›""#);
    let owner = r#""organization":"‹organization›","@version":"1""#;
    let particulars = particulars(service, event_type, random);
    let context = context(service, random);
    // The order of an object's members is nobody's promise.
    match variant % 4 {
        0 => format!("{{{particulars},{context},{owner},{envelope}}}"),
        1 => format!("{{{owner},{envelope},{context},{particulars}}}"),
        _ => format!("{{{envelope},{owner},{particulars},{context}}}"),
    }
}

/// An mdm event of about `size` bytes, nearly all of them certificates and profiles in base64.
pub(super) fn compose_large(size: usize, random: &mut Random) -> String {
    let mut profiles = String::new();
    while profiles.len() < size - 1_500 {
        let comma = if profiles.is_empty() { "" } else { "," };
        profiles += &format!(
            r#"{comma}{{"has_removal_passcode":false,"is_encrypted":true,"payload_display_name":"Profil č. {}","payload_identifier":"com.jumpcloud.mdm.{:x}","payload_verion":1,"signer_certificates":["{}"]}}"#,
            random.below(1_000),
            random.next(),
            base64(1_600.min(size - 1_500 - profiles.len()), random),
        );
    }
    format!(
        r#"{{"id":"‹id›","event_type":"mdm_command_result","service":"mdm","timestamp":"‹time›","organization":"‹organization›","@version":"1","mdm_device_id":"‹uid›","mdm_device_manager_id":"5f2b9c7a{:016x}","command":{{"request_type":"ProfileList","payload":"{}"}},"error_chain":null,"status":"Acknowledged","os_meta_family":"darwin","profile_list":[{profiles}]}}"#,
        random.next(),
        base64(900, random),
    )
}

/// Who, from where, with what: the members that most services share, each of them sometimes absent or null.
fn context(service: &str, random: &mut Random) -> String {
    let by = match service {
        "radius" | "ldap" => r#"{"type":"user","username":"‹user›"}"#.to_owned(),
        "systems" | "mdm" | "software" => r#"{"id":"‹uid›","type":"system","name":null}"#.to_owned(),
        "directory" if random.share(0.5) => r#"{"id":"‹uid›","type":"admin","email":"‹user›@example.org"}"#.to_owned(),
        "directory" => r#"{"id":"‹uid›","type":"user","username":"‹user›","source":"jumpcloud:scim"}"#.to_owned(),
        _ => r#"{"id":"‹uid›","type":"user","username":"‹user›"}"#.to_owned(),
    };
    let mut text = format!(r#""initiated_by":{by}"#);
    if matches!(service, "mdm" | "software") {
        return text;
    }
    let ip = if random.share(0.15) { "2001:db8::‹ip›" } else { "203.0.113.‹ip›" };
    text += &format!(r#","client_ip":"{ip}","geoip":{}"#, random.pick(PLACES));
    text += random.pick(&["", r#","asn":{"number":64500,"organization":"Příklad Telecom"}"#, r#","asn":null"#]);
    if !matches!(service, "radius" | "ldap" | "systems") {
        text += &format!(r#","useragent":{}"#, random.pick(AGENTS));
        text += r#","jc_initiated_by_email":"‹user›@example.org","jc_initiated_by_id":"‹uid›""#;
    }
    text
}

/// What only this service has.
fn particulars(service: &str, event_type: &str, random: &mut Random) -> String {
    match service {
        "directory" => directory(event_type, random),
        "sso" => format!(
            r#""provider":"","mfa":{mfa},"sso_token_success":{ok},"idp_initiated":true,"error_message":"{error}","application":{application},"auth_context":{{"auth_methods":{{"password":{{"success":true}},"totp":{{"success":{mfa}}}}},"policies_applied":[{{"id":"","name":"Global","metadata":{{"action":"ALLOW","resource_type":"APPLICATION"}}}}]}}"#,
            mfa = random.share(0.5),
            ok = random.share(0.8),
            error = random.pick(&["", "", "", "access denied: \\\"policy\\\" <b>&"]),
            application = random.pick(APPLICATIONS),
        ),
        "radius" => format!(
            r#""username":"‹user›","success":{ok},"auth_type":"{auth}","eap_type":"MSCHAPv2","nas_mfa_state":"{nas}","mfa":false,"mfa_meta":{{"type":""}},"outer":{{"eap_type":"PEAP","username":"anonymous"{outer}}},"error_message":"{error}","auth_meta":{{"auth_idp":"JUMPCLOUD","user_password_enabled":true,"user_cert_enabled":false,"device_cert_enabled":false,"userid_type":"USERNAME"}}"#,
            ok = random.share(0.7),
            auth = random.pick(&["eap", "EAP", "pap"]),
            nas = random.pick(&["DISABLED", ""]),
            outer = random.pick(&["", r#","error_message":"eap_peap: inner session rejected""#]),
            error = random.pick(&["", "mschap: wrong response"]),
        ),
        "ldap" => format!(
            r#""connection_id":{connection},"operation_number":{number},"operation_type":"{operation}","dn":"uid=‹user›,ou=Users,o=5f00000000000000000000aa,dc=jumpcloud,dc=com","auth_method":"simple","mech":"SIMPLE","start_tls":false,"tls_established":true,"username":"‹user›","error_code":{code},"oid":"","base":"ou=Users,o=5f00000000000000000000aa,dc=jumpcloud,dc=com","scope":2,"deref":0,"filter":"(&(objectClass=inetOrgPerson)(|(uid=‹user›)(cn=Ž*)))","attr":"uid mail memberOf","number_of_results":{results},"success":{ok},"auth_meta":{{"auth_idp":"JUMPCLOUD"}}"#,
            connection = random.below(1 << 40),
            number = random.below(9),
            operation = if event_type == "ldap_bind" { "BIND" } else { "SRCH" },
            code = random.pick(&[0, 0, 0, 49]),
            results = random.below(40),
            ok = random.share(0.9),
        ),
        "systems" => format!(
            r#""system":{system},"message":"{message}","src_ip":null,"username":"‹user›","process_name":"{process}","system_timestamp":"2026-03-02T09:33:36+0100","success":{ok},"windows_meta":{{"elevated":false,"logon_type":"2"}},"changes":[{{"field":"lastContact"}}],"provider":null,"auth_method":"{auth}""#,
            system = system(random),
            message = random.pick(&[
                "Accepted publickey for ‹user› from 203.0.113.9 port 50422 ssh2",
                "Anmeldung für „‹user›“ fehlgeschlagen\\r\\n\\tSicherheits-ID: S-1-0-0",
                "session opened | uid=0 ] code=\\u0007"
            ]),
            process = random.pick(&["sshd", "loginwindow", "winlogon.exe"]),
            ok = random.pick(&["true", "true", "false", "null"]),
            auth = random.pick(&["other", "password", ""]),
        ),
        "mdm" => format!(
            r#""mdm_device_id":"‹uid›","mdm_device_manager_id":"5f2b9c7a{:016x}","command":{{"request_type":"{}","payload":"{}"}},"status":"Acknowledged","error_chain":null,"security_info":{{"FDE_Enabled":true,"SystemIntegrityProtectionEnabled":true}},"query_responses":null,"available_os_updates":[{{"HumanReadableName":"macOS 15.3.2","ProductKey":"MSU_UPDATE_24D81","IsCritical":false,"Version":"15.3.2"}}],"os_meta_family":"darwin""#,
            random.next(),
            random.pick(&["InstallProfile", "SecurityInfo", "AvailableOSUpdates"]),
            base64(400 + random.below(1_200) as usize, random),
        ),
        "software" => format!(
            r#""application":{{"name":"{name}","version":"{version}","path":"C:\\Program Files\\{name}","publisher":"Ukázka s. r. o.","uninstall_string":"MsiExec.exe /X{{{guid:032X}}}"}},"system":{system},"resource":{{"id":"5f2b9c7a{guid:016x}","type":"software","displayName":"{name}"}},"app_management_source":{source},"changes":[{{"field":"version","from":"1.0.0","to":"{version}"}}],"provider":null,"success":true"#,
            name = random.pick(&["7-Zip", "LibreOffice", "Visual Studio Code", "Poznámkový blok"]),
            version = random.pick(&["1.2.3", "24.8.4.2", "2026.03"]),
            guid = random.next(),
            system = system(random),
            source = random.pick(&["null", "\"chocolatey\"", "\"apple_vpp\""]),
        ),
        "object_storage" => format!(
            r#""result":"SUCCESS","referrer_object_id":"5f2b9c7a{0:016x}","referrer_type":"SOFTWARE_APP","object_storage_item_object_id":"5f2b9c7a{0:016x}","object_storage_item_version_size":{1},"total_software_item_count":12,"total_space_used":{1},"system_object_id":null"#,
            random.next(),
            (1u64 << 32) + random.below(1 << 40),
        ),
        "alerts" => format!(
            r#""category":"Device","severity":"{}","username":"‹user›","initiated_by_changes":null,"resource":{{"id":"5f2b9c7a{:016x}","context":{{"hostname":"büro-01"}},"source_id":"","source_type":"rule","reference_id":null}},"correlation":{{"id":"{:x}"}}"#,
            random.pick(&["low", "high"]),
            random.next(),
            random.next(),
        ),
        "asset_management" => format!(
            r#""username":"‹user›","detail":"Notebook č. {} vydán","resource":{{"id":"5F2B9C7A{:016X}","type":"asset"}}"#,
            random.below(10_000),
            random.next(),
        ),
        "workflows" => format!(
            r#""resource":{{"id":"5f2b9c7a{:016x}","type":"workflow_run","status":"completed","meta_data":{{"trigger_source":"schedule"}}}},"success":true,"changes":{}"#,
            random.next(),
            random.pick(CHANGES),
        ),
        _ => format!(
            r#""username":"‹user›","detail":null,"association":{{"type":"user","id":"‹uid›","email":"‹user›@example.org"}},"resource":{{"id":"5f2b9c7a{:016x}","type":"item","name":"Přístupy – účetní","description":"a \"quoted\" \\ thing"}},"changes":{},"success":{},"provider":null"#,
            random.next(),
            random.pick(CHANGES),
            random.pick(&["true", "false", "null"]),
        ),
    }
}

fn directory(event_type: &str, random: &mut Random) -> String {
    let mut text = format!(
        r#""resource":{{"id":"5f2b9c7a{:016x}","type":"user","username":"‹user›","displayName":{}}},"auth_method":"{}","correlation":{{}},"message_chain":{{}},"error_message":"""#,
        random.next(),
        random.pick(&["null", "\"Žofie Nováková\"", "\"Ben\\tO'Brien\"", "\"山田 太郎\""]),
        random.pick(&["session", "api key", "other"]),
    );
    text += random.pick(&["", r#","provider":null"#, r#","provider":"5f00000000000000000000f1""#]);
    text += random.pick(&["", r#","success":true"#, r#","success":false"#, r#","success":null"#]);
    if event_type.ends_with("login_attempt") {
        text += r#","mfa":true,"mfa_meta":{"type":"totp"},"auth_context":{"auth_methods":{"password":{"success":true},"totp":{"success":true},"jumpcloud_protect":{"success":false}},"policies_applied":[{"id":"5f00000000000000000000c1","name":"Nur aus dem Büro","metadata":{"action":"ALLOW","resource_type":"USER_PORTAL"}}]}"#;
    } else if event_type == "association_change" {
        text += r#","association":{"op":"add","action_source":null,"connection":{"from":{"name":"Všichni","type":"user_group","object_id":"5f00000000000000000000a1"},"to":{"name":"‹user›","type":"user","object_id":"‹uid›"}},"attributes":null}"#;
    } else {
        text += &format!(r#","changes":{}"#, random.pick(CHANGES));
    }
    text
}

fn system(random: &mut Random) -> String {
    format!(
        r#"{{"id":"5f2b9c7a{:016x}","hostname":"{}","displayName":"{}","os":"{}"}}"#,
        random.next(),
        random.pick(&["nb-0417.example.org", "DESKTOP-7Q2", "jakubs-mbp"]),
        random.pick(&["nb-0417", "Büro 2. OG", "Jakubův MacBook"]),
        random.pick(&["Windows", "Mac OS X", "Ubuntu"]),
    )
}

fn base64(length: usize, random: &mut Random) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length).map(|_| ALPHABET[random.below(64) as usize] as char).collect()
}
