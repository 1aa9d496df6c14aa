//! Which services and event types there are, how often they come, and how finely they are stamped (insights-api §2).

/// A service's events.
pub(super) struct Service {
    /// As the event says it; a query may have another name for it (`saas_app_management`).
    pub name: &'static str,
    /// How often it comes, beside the other services.
    pub weight: u32,
    /// Fractional digits of its timestamps; where none is given, each event type has its own number of them.
    pub digits: Option<u32>,
    /// Types that make up three quarters of its events; all alike where there are none.
    pub frequent: &'static str,
    pub types: &'static str,
}

/// What a query may ask for: the specification's list, and what others were seen to ask for (insights-api §1.6).
pub(super) const QUERYABLE: &[&str] = &[
    "all",
    "access_certification",
    "access_management",
    "adbridge_user",
    "ai_admin",
    "aigw",
    "alert",
    "alerts",
    "asset_management",
    "di_events",
    "directory",
    "genai",
    "generic_di",
    "ldap",
    "mdm",
    "notifications",
    "object_storage",
    "pam",
    "password_manager",
    "password_vault",
    "radius",
    "reports",
    "saas_app_management",
    "software",
    "sso",
    "systems",
    "workflows",
];

pub(super) const SERVICES: &[Service] = &[
    Service {
        name: "directory",
        weight: 300,
        digits: Some(3),
        frequent: "admin_login_attempt user_login_attempt user_update association_change user_password_change command_run group_update",
        types: "application_create application_delete application_update association_change group_create \
                group_delete group_update integrationattribute_include integrationattribute_exclude \
                invoice_download notification_delete organization_create organization_update system_create \
                system_delete system_update radiusserver_create radiusserver_delete radiusserver_update \
                user_group_admin_grant user_group_admin_revoke admin_create admin_delete admin_login_attempt \
                admin_password_reset_request admin_update admin_totp_start_enrollment \
                admin_totp_finish_enrollment admin_totp_disable totp_start_enrollment totp_finish_enrollment \
                totp_delete_enrollment user_create user_delete user_lockout user_login_attempt \
                user_mfa_exclusion_expired user_password_expired user_password_reset_request \
                user_password_warning_email user_update user_password_change user_activated \
                user_activation_email user_password_set user_unlocked user_suspended user_unsuspended \
                user_activation_schedule_create user_activation_schedule_delete user_suspension_schedule_create \
                user_suspension_schedule_delete admin_password_change user_create_provision \
                user_update_provision user_delete_provision user_admin_granted user_admin_revoked command_create \
                command_delete command_run command_update commandresult_delete file_create file_delete \
                file_update policy_create policy_delete policy_update authnpolicy_create authnpolicy_delete \
                authpolicy_update iplist_create iplist_delete iplist_update activedirectory_create \
                activedirectory_delete idsource_create idsource_delete idsource_update sambadomain_create \
                sambadomain_delete sambadomain_update workday_create workday_delete workday_update \
                integration_activate integration_deactivate gsuite_directory_create gsuite_directory_update \
                gsuite_directory_delete o365_directory_create o365_directory_update o365_directory_delete \
                integration_domain_add integration_domain_delete integration_default_domain_add \
                integration_default_domain_update integration_default_domain_delete admin_unsuspend \
                admin_lockout admin_suspended provider_update mtp_download_invoice msp_ticket_create \
                connectwise_integration_create connectwise_integration_update connectwise_integration_delete \
                connectwise_billing_mapping_create connectwise_billing_mapping_update \
                connectwise_billing_mapping_delete connectwise_company_mapping_create \
                connectwise_company_mapping_update connectwise_company_mapping_delete \
                connectwise_settings_update autotask_integration_create autotask_integration_update \
                autotask_integration_delete autotask_billing_mapping_create autotask_billing_mapping_update \
                autotask_billing_mapping_delete autotask_company_mapping_create autotask_company_mapping_update \
                autotask_company_mapping_delete autotask_settings_update syncro_integration_create \
                syncro_integration_update syncro_integration_delete syncro_billing_mapping_create \
                syncro_billing_mapping_update syncro_billing_mapping_delete syncro_company_mapping_create \
                syncro_company_mapping_update syncro_company_mapping_delete syncro_settings_update \
                software_add_request software_change_request software_remove_request group_warning \
                admin_old_api_key_attempt attributemappings_add attributemappings_update \
                attributemappings_delete redirect_uri_create redirect_uri_update redirect_uri_delete",
    },
    Service { name: "sso", weight: 150, digits: Some(9), frequent: "", types: "sso_auth" },
    Service { name: "radius", weight: 140, digits: Some(0), frequent: "", types: "radius_auth_attempt radius_auth" },
    Service { name: "ldap", weight: 140, digits: None, frequent: "", types: "ldap_bind ldap_srch" },
    Service {
        name: "systems",
        weight: 110,
        digits: None,
        frequent: "login_attempt command_result policy_result",
        types: "login_attempt system_fde_key_update user_password_change user_lockout system_fde_key_decrypt \
                os_minor_upgrade os_major_upgrade os_minor_rollback os_major_rollback remote_session_start \
                remote_session_join remote_session_end remote_session_feedback google_emm_create \
                google_emm_delete google_emm_patch device_command command_result policy_result",
    },
    Service {
        name: "software",
        weight: 70,
        digits: None,
        frequent: "software_status_update software_add software_change",
        types: "software_add software_change software_remove software_status_update windows_patch_export \
                windows_patch_install",
    },
    Service {
        name: "password_manager",
        weight: 25,
        digits: None,
        frequent: "passwordmanager_item_reveal passwordmanager_item_autofill",
        types: "passwordmanager_enable passwordmanager_disable passwordmanager_user_enable \
                passwordmanager_user_disable passwordmanager_user_activate passwordmanager_user_deactivate \
                passwordmanager_user_reactivate passwordmanager_folder_create passwordmanager_folder_delete \
                passwordmanager_folder_member_add passwordmanager_folder_member_update \
                passwordmanager_folder_member_remove passwordmanager_item_add passwordmanager_item_update \
                passwordmanager_item_remove passwordmanager_item_move passwordmanager_user_device_pair \
                passwordmanager_user_device_unpair passwordmanager_user_signup passwordmanager_user_re-enable \
                passwordmanager_user_update passwordmanager_backup_create passwordmanager_backup_request \
                passwordmanager_backup_key_create passwordmanager_backup_key_delete \
                passwordmanager_backup_request_restore passwordmanager_backup_enable \
                passwordmanager_backup_disable passwordmanager_backup_key_regenerate \
                passwordmanager_backup_request_cancel passwordmanager_backup_request_reject \
                passwordmanager_backup_request_approve passwordmanager_sharedfolders_policy_group_add \
                passwordmanager_sharedfolders_policy_user_add passwordmanager_sharedfolders_policy_group_remove \
                passwordmanager_sharedfolders_policy_user_remove passwordmanager_sharedfolders_policy_update \
                passwordmanager_user_remove passwordmanager_folder_group_add passwordmanager_folder_group_update \
                passwordmanager_folder_group_remove passwordmanager_folder_update passwordmanager_item_reveal \
                passwordmanager_item_copy passwordmanager_item_autofill passwordmanager_force_sync \
                passwordmanager_app_update passwordmanager_local_backup_create passwordmanager_items_export \
                passwordmanager_pincode_update passwordmanager_local_backup_path_update \
                passwordmanager_paranoid_mode_enable passwordmanager_paranoid_mode_disable \
                passwordmanager_extension_settings_update passwordmanager_item_settings_update \
                passwordmanager_folder_force_sync passwordmanager_items_import \
                passwordmanager_local_backup_restore passwordmanager_mini_launch passwordmanager_app_unlock \
                passwordmanager_item_history_reveal passwordmanager_item_history_restore \
                passwordmanager_extension_unlock passwordmanager_extension_pair \
                passwordmanager_extension_site_exclusion passwordvault_enable passwordvault_disable \
                passwordvault_user_enable passwordvault_user_disable passwordvault_credential_add \
                passwordvault_credential_reveal passwordvault_credential_shareuser passwordvault_website_connect",
    },
    Service {
        name: "mdm",
        weight: 20,
        digits: Some(9),
        frequent: "mdm_command_result",
        types: "mdm_command_result device_enrollment configuration_file_download",
    },
    Service {
        name: "alerts",
        weight: 8,
        digits: None,
        frequent: "",
        types: "alert_created alert_updated alert_status_updated rule_created rule_modified rule_deleted \
                bulk_update_alerts bulk_delete_alerts rule_config_created rule_config_updated \
                rule_config_deleted",
    },
    Service {
        name: "saas_management",
        weight: 8,
        digits: None,
        frequent: "",
        types: "saas_management_enable saas_management_disable saas_management_settings_update \
                saas_management_application_discover saas_management_event_application_review \
                saas_management_application_update saas_management_application_access_restriction_update \
                saas_management_application_license_update saas_management_application_delete \
                saas_management_connector_create saas_management_connector_update \
                saas_management_connector_delete saas_management_account_discover \
                saas_management_account_user_assign saas_management_account_delete \
                saas_management_tenant_discover saas_management_login_event saas_management_application_review",
    },
    Service {
        name: "workflows",
        weight: 6,
        digits: None,
        frequent: "",
        types: "workflow_create workflow_update workflow_delete workflow_run",
    },
    Service {
        name: "access_management",
        weight: 6,
        digits: None,
        frequent: "",
        types: "access_management_access_request access_management_access_request_approval \
                access_management_association_change access_management_approval_flow_create \
                access_management_approval_flow_update access_management_approval_flow_delete \
                access_management_access_request_settings_update",
    },
    Service {
        name: "notifications",
        weight: 3,
        digits: None,
        frequent: "",
        types: "notification_channel_created notification_channel_updated notification_channel_deleted \
                slack_notification_sent",
    },
    Service {
        name: "object_storage",
        weight: 3,
        digits: None,
        frequent: "",
        types: "object_storage_create object_storage_upload_validation_result \
                object_storage_get_download_url_request object_storage_delete",
    },
    Service {
        name: "reports",
        weight: 4,
        digits: None,
        frequent: "",
        types: "report_run report_export report_create report_update report_delete custom_report_create \
                custom_report_update custom_report_delete scheduled_report_create scheduled_report_update \
                scheduled_report_delete scheduled_report_run_success scheduled_report_run_failed",
    },
    Service {
        name: "asset_management",
        weight: 3,
        digits: None,
        frequent: "",
        types: "asset_management_enable asset_management_disable asset_management_general_settings_update \
                asset_management_field_setting_create asset_management_field_setting_update \
                asset_management_field_setting_delete asset_management_asset_create \
                asset_management_asset_update asset_management_asset_delete",
    },
    Service {
        name: "aigw",
        weight: 2,
        digits: None,
        frequent: "",
        types: "aigw_session_opened aigw_session_activity aigw_session_closed",
    },
    Service {
        name: "genai",
        weight: 2,
        digits: None,
        frequent: "",
        types: "genai_ai_assistant_chat_created genai_ai_assistant_chat_message_sent",
    },
    Service {
        name: "ca_service",
        weight: 1,
        digits: None,
        frequent: "",
        types: "ca_created cert_issued_manual cert_revoked scep_issued",
    },
    Service {
        name: "not_in_any_list",
        weight: 2,
        digits: None,
        frequent: "",
        types: "brand-new.type risk_event_created server_create",
    },
];
