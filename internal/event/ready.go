package event

import (
	"slices"
	"time"
)

// Ready returns the ready-made alarm of the name, without targets.
func Ready(name string) (Alarm, bool) {
	for _, a := range readyAlarms() {
		if a.Name == name {
			return a, true
		}
	}
	return Alarm{}, false
}

// ReadyNames lists the ready-made alarms.
func ReadyNames() []string {
	var names []string
	for _, a := range readyAlarms() {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return names
}

const (
	byPrincipal = "detail.userIdentity.arn"
	// ownLine leaves out the second line that a call across accounts gets, for the
	// owner's account: it does not name the principal, and would count twice.
	ownLine = `"userIdentity":{"type":[{"anything-but":"AWSAccount"}]}`
	reads   = `"eventSource":["secretsmanager.amazonaws.com"],"eventName":["GetSecretValue","BatchGetSecretValue"]`
)

func readyAlarms() []Alarm {
	const moment = 5 * time.Minute
	return []Alarm{
		{
			Name: "denied-reads", Description: "One principal was denied several reads of secrets within five minutes.",
			Pattern: `{"detail":{` + reads + `,"errorCode":[{"prefix":"AccessDenied"}],` + ownLine + `}}`,
			Count:   5, Period: moment, GroupBy: byPrincipal,
		},
		{
			Name: "read-of-deleted-secret", Description: "A secret that is scheduled for deletion was asked for: something still uses it.",
			Pattern: `{"detail":{` + reads + `,"errorCode":["InvalidRequestException"],"errorMessage":[{"wildcard":"*marked for deletion*"}]}}`,
			Count:   1, Period: time.Hour,
		},
		{
			Name: "root-used", Description: "The root credentials of an account were used.",
			Pattern: `{"detail":{"eventType":["AwsApiCall"],"userIdentity":{"type":["Root"],"invokedBy":[{"exists":false}]}}}`,
			Count:   1, Period: 15 * time.Minute, GroupBy: byPrincipal,
		},
		{
			Name: "decoy-read", Description: "A decoy was read, or somebody tried to: nobody has a reason to.",
			Pattern: `{"detail":{"arca":{"decoy":[true]},` + ownLine + `}}`,
			Count:   1, Period: moment, GroupBy: byPrincipal, Repeat: time.Hour,
		},
		{
			Name: "key-unusable-read", Description: "Secrets were asked for whose key is disabled, scheduled for deletion or gone.",
			Pattern: `{"detail":{` + reads + `,"errorCode":["DecryptionFailure"]}}`,
			Count:   1, Period: moment,
		},
		{
			Name: "key-endangered", Description: "A key was disabled or scheduled for deletion; what it encrypts cannot be read then.",
			Pattern: `{"detail":{"eventSource":["kms.amazonaws.com"],"eventName":["DisableKey","ScheduleKeyDeletion","DeleteImportedKeyMaterial"],"errorCode":[{"exists":false}]}}`,
			Count:   1, Period: moment,
		},
		{
			Name: "policy-changed", Description: "Somebody changed who may do what.",
			Pattern: `{"detail":{` + ownLine + `,"readOnly":[false],"errorCode":[{"exists":false}],"eventName":[{"wildcard":"Put*Policy"},{"wildcard":"Attach*Policy"},{"wildcard":"Detach*Policy"},` +
				`{"wildcard":"Delete*Policy"},{"wildcard":"CreatePolicy*"},{"wildcard":"Update*Policy"},{"wildcard":"Put*PermissionsBoundary"},` +
				`{"wildcard":"Delete*PermissionsBoundary"},"SetDefaultPolicyVersion","CreateGrant","AddPermission","AddUserToGroup","CreateAccessKey","CreateOpenIDConnectProvider"]}}`,
			Count: 1, Period: moment, GroupBy: byPrincipal,
		},
		{
			Name: "rotation-failed", Description: "The rotation of a secret failed.",
			Pattern: `{"detail":{"eventSource":["secretsmanager.amazonaws.com"],"eventName":["RotationFailed"]}}`,
			Clear:   `{"detail":{"eventSource":["secretsmanager.amazonaws.com"],"eventName":["RotationSucceeded"]}}`,
			Count:   1, Period: moment, GroupBy: "detail.additionalEventData.SecretId",
		},
		{
			Name: "rotation-overdue", Description: "A secret was not rotated when it should have been.",
			Pattern: `{"source":["aws.config"],"detail-type":["Config Rules Compliance Change"],"detail":{` +
				`"configRuleName":[{"equals-ignore-case":"secretsmanager-scheduled-rotation-success-check"}],"newEvaluationResult":{"complianceType":["NON_COMPLIANT"]}}}`,
			Clear: `{"source":["aws.config"],"detail-type":["Config Rules Compliance Change"],"detail":{` +
				`"configRuleName":[{"equals-ignore-case":"secretsmanager-scheduled-rotation-success-check"}],"newEvaluationResult":{"complianceType":["COMPLIANT","NOT_APPLICABLE"]}}}`,
			Count: 1, Period: moment, GroupBy: "detail.resourceId",
		},
		condition("audit-failing", "The audit log cannot be written; calls are refused until it can.", "Audit Log Failing", "Audit Log Recovered"),
		condition("audit-lag", "A copy or sink of the audit log is far behind.", "Audit Lag", "Audit Lag Recovered"),
		{
			Name: "audit-damaged", Description: "The files of the audit log were changed by somebody else, or lines are lost.",
			Pattern: `{"source":["arca"],"detail-type":["Audit Log Damaged"]}`,
			Count:   1, Period: time.Hour,
		},
		condition("disk-low", "Free disk space is below twice the mark at which changes are refused.", "Disk Space Low", "Disk Space Recovered"),
		condition("certificate-expiring", "A certificate of the server is about to expire.", "Certificate Expiring", "Certificate Renewed"),
	}
}

// condition is the alarm of a Condition.
func condition(name, description, raised, cleared string) Alarm {
	return Alarm{
		Name: name, Description: description,
		Pattern: `{"source":["arca"],"detail-type":["` + raised + `"]}`,
		Clear:   `{"source":["arca"],"detail-type":["` + cleared + `"]}`,
		Count:   1, Period: 5 * time.Minute,
	}
}
