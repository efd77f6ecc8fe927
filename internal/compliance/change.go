package compliance

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
	"time"
)

// ResourceType is how AWS Config calls a secret.
const ResourceType = "AWS::SecretsManager::Secret"

// Change is a rule's change of mind about a secret.
type Change struct {
	Time time.Time
	Rule Rule
	// Old is 0 for a secret that is looked at for the first time.
	Old, New   State
	Annotation string // of the new state
	SecretARN  string
	SecretName string
	Account    string
	Region     string
}

// DetailType is the detail-type of the event that tells of a Change; its source is
// aws.config.
const DetailType = "Config Rules Compliance Change"

// evaluation is how AWS Config writes a result.
type evaluation struct {
	Identifier   evaluationID `json:"evaluationResultIdentifier"`
	Compliance   string       `json:"complianceType"`
	RecordedTime string       `json:"resultRecordedTime,omitempty"`
	InvokedTime  string       `json:"configRuleInvokedTime,omitempty"`
	Annotation   string       `json:"annotation,omitempty"`
}

type evaluationID struct {
	Qualifier evaluationQualifier `json:"evaluationResultQualifier"`
	Timestamp string              `json:"orderingTimestamp,omitempty"`
}

type evaluationQualifier struct {
	RuleName     string `json:"configRuleName"`
	ResourceType string `json:"resourceType"`
	ResourceID   string `json:"resourceId"`
}

// Detail is the detail of the event, as AWS Config sends it. Times of the old result are
// left out: it is not kept when a state began.
// https://docs.aws.amazon.com/config/latest/developerguide/monitor-config-with-cloudwatchevents.html
func (c *Change) Detail() (json.RawMessage, error) {
	at := c.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	subject := evaluationQualifier{RuleName: string(c.Rule), ResourceType: ResourceType, ResourceID: c.SecretARN}
	detail := struct {
		ResourceID    string      `json:"resourceId"`
		Region        string      `json:"awsRegion"`
		Account       string      `json:"awsAccountId"`
		RuleName      string      `json:"configRuleName"`
		RecordVersion string      `json:"recordVersion"`
		RuleARN       string      `json:"configRuleARN"`
		MessageType   string      `json:"messageType"`
		New           evaluation  `json:"newEvaluationResult"`
		Old           *evaluation `json:"oldEvaluationResult,omitempty"`
		Created       string      `json:"notificationCreationTime"`
		ResourceType  string      `json:"resourceType"`
	}{
		ResourceID: c.SecretARN, Region: c.Region, Account: c.Account, RuleName: string(c.Rule), RecordVersion: "1.0",
		RuleARN: c.ruleARN(), MessageType: "ComplianceChangeNotification", Created: at, ResourceType: ResourceType,
		New: evaluation{
			Identifier: evaluationID{Qualifier: subject, Timestamp: at}, Compliance: c.New.String(),
			RecordedTime: at, InvokedTime: at, Annotation: c.Annotation,
		},
	}
	if c.Old != 0 {
		detail.Old = &evaluation{Identifier: evaluationID{Qualifier: subject}, Compliance: c.Old.String()}
	}
	return json.Marshal(detail)
}

// ruleARN names the rule as AWS Config would. The id at its end is drawn on AWS; here it
// follows from the name, so that it is the same everywhere.
func (c *Change) ruleARN() string {
	sum := sha256.Sum256([]byte(c.Rule))
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:6])
	partition := "aws"
	if parts := strings.SplitN(c.SecretARN, ":", 3); len(parts) == 3 {
		partition = parts[1]
	}
	return "arn:" + partition + ":config:" + c.Region + ":" + c.Account + ":config-rule/config-rule-" + id
}
