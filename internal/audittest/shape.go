package audittest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"arca/internal/api"
)

// members are those of a record in CloudTrail's order, ours at the end; those in
// parentheses are optional.
const members = `eventVersion userIdentity eventTime eventSource eventName awsRegion sourceIPAddress userAgent
	(errorCode) (errorMessage) requestParameters responseElements (additionalEventData) (serviceEventDetails)
	requestID eventID readOnly (resources) eventType managementEvent recipientAccountId (sharedEventID) eventCategory
	(tlsDetails) arca`

// identity are the members of userIdentity by its type, likewise. What nobody called for
// has no type.
func identity(kind string) (members string, ok bool) {
	switch kind {
	case "":
		return "accountId invokedBy", true
	case "Root":
		return "type principalId arn accountId (accessKeyId) (invokedBy) (sessionContext)", true
	case "IAMUser":
		return "type principalId arn accountId (accessKeyId) userName (invokedBy) (sessionContext)", true
	case "AssumedRole":
		return "type principalId arn accountId (accessKeyId) (invokedBy) sessionContext", true
	case "WebIdentityUser":
		return "type principalId (userName) identityProvider", true
	case "AWSAccount":
		return "type principalId accountId (invokedBy)", true
	case "AWSService":
		return "type (principalId) (arn) (accountId) (invokedBy)", true
	case "Anonymous":
		return "type", true
	}
	return "", false
}

// serviceEvents are the events of Secrets Manager that nobody calls for.
const serviceEvents = `RotationStarted RotationSucceeded RotationFailed RotationAbandoned
	TestRotationStarted TestRotationSucceeded TestRotationFailed
	StartSecretVersionDelete CancelSecretVersionDelete EndSecretVersionDelete
	ReplicationStarted ReplicationSucceeded ReplicationFailed`

var (
	uuidForm     = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	accountForm  = regexp.MustCompile(`^[0-9]{12}$`)
	rotationForm = regexp.MustCompile(`^Rotation-arn:[^ ]+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// record is a line taken apart.
type record struct {
	order                                                               []string
	all                                                                 map[string]json.RawMessage
	EventVersion, EventTime, EventSource, EventName, AwsRegion          string
	SourceIPAddress, UserAgent, ErrorCode, ErrorMessage                 string
	RequestID, EventID, EventType, EventCategory                        string
	RecipientAccountID, SharedEventID                                   string
	ReadOnly, ManagementEvent                                           bool
	UserIdentity, RequestParameters, ResponseElements, AdditionalEvents json.RawMessage
	TLSDetails                                                          map[string]string
	Resources                                                           []map[string]string
	Arca                                                                map[string]json.RawMessage
}

// Shape compares a line with what a record of CloudTrail looks like: which members it
// has and in which order, what they hold, and that request and answer show the members
// of the operation's description under CloudTrail's names, none of them sensitive. It
// returns what is wrong, one line for each problem.
func Shape(line []byte, services ...*api.Service) (problems []string) {
	s := shape{services: services}
	s.check(line)
	return s.problems
}

type shape struct {
	services []*api.Service
	problems []string
	r        record
}

func (s *shape) wrong(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func (s *shape) check(line []byte) {
	order, all, err := objectOf(line)
	if err != nil {
		s.wrong("not a JSON object: %v", err)
		return
	}
	if err := json.Unmarshal(line, &s.r); err != nil {
		s.wrong("a member has a wrong type: %v", err)
		return
	}
	s.r.order, s.r.all = order, all
	s.r.AdditionalEvents = all["additionalEventData"]
	at := 0
	for name := range strings.FieldsSeq(members) {
		bare := strings.Trim(name, "()")
		if at < len(order) && order[at] == bare {
			at++
		} else if bare == name {
			s.wrong("%s is missing or in a wrong place", name)
		}
	}
	if at != len(order) {
		s.wrong("members are %q", order)
	}
	s.common()
	switch s.r.EventType {
	case "AwsApiCall":
		s.apiCall()
	case "AwsServiceEvent":
		s.serviceEvent()
	default:
		s.wrong("eventType = %q", s.r.EventType)
	}
}

func (s *shape) common() {
	r := &s.r
	if r.EventVersion != "1.11" || !r.ManagementEvent || r.EventCategory != "Management" {
		s.wrong("eventVersion = %q, managementEvent = %v, eventCategory = %q", r.EventVersion, r.ManagementEvent, r.EventCategory)
	}
	if _, err := time.Parse("2006-01-02T15:04:05Z", r.EventTime); err != nil {
		s.wrong("eventTime = %q", r.EventTime)
	}
	if !uuidForm.MatchString(r.EventID) || r.SharedEventID != "" && (!uuidForm.MatchString(r.SharedEventID) || r.SharedEventID == r.EventID) {
		s.wrong("eventID = %q, sharedEventID = %q", r.EventID, r.SharedEventID)
	}
	if !accountForm.MatchString(r.RecipientAccountID) || r.AwsRegion == "" || r.SourceIPAddress == "" || r.RequestID == "" {
		s.wrong("recipientAccountId = %q, awsRegion = %q, sourceIPAddress = %q, requestID = %q",
			r.RecipientAccountID, r.AwsRegion, r.SourceIPAddress, r.RequestID)
	}
	s.identity()
	for _, res := range r.Resources {
		if !strings.HasPrefix(res["ARN"], "arn:") || !strings.HasPrefix(res["type"], "AWS::") || !accountForm.MatchString(res["accountId"]) || len(res) != 3 {
			s.wrong("resources: %v", res)
		}
	}
	if _, ok := r.Arca["node"]; !ok {
		s.wrong("arca names no node")
	}
	for name := range r.Arca {
		if !slices.Contains([]string{"node", "denied", "decoy", "changes"}, name) {
			s.wrong("arca has the member %s", name)
		}
	}
}

func (s *shape) identity() {
	have, all, err := objectOf(s.r.all["userIdentity"])
	if err != nil {
		s.wrong("userIdentity: %v", err)
		return
	}
	var kind string
	_ = json.Unmarshal(all["type"], &kind) // absent, or shown below
	want, ok := identity(kind)
	if !ok {
		s.wrong("userIdentity has the type %q", kind)
		return
	}
	at := 0
	for name := range strings.FieldsSeq(want) {
		bare := strings.Trim(name, "()")
		if i := slices.Index(have, bare); i >= 0 {
			at++
		} else if bare == name {
			s.wrong("userIdentity of a %s has no %s", kind, bare)
		}
	}
	if at != len(have) {
		s.wrong("userIdentity of a %s has %q", kind, have)
	}
	if raw, ok := all["sessionContext"]; ok {
		s.session(raw)
	}
}

func (s *shape) session(raw json.RawMessage) {
	have, all, err := objectOf(raw)
	if err != nil {
		s.wrong("sessionContext: %v", err)
		return
	}
	for _, name := range have {
		if !slices.Contains([]string{"sessionIssuer", "webIdFederationData", "attributes", "sourceIdentity"}, name) {
			s.wrong("sessionContext has the member %s", name)
		}
	}
	s.exactly("sessionContext.attributes", all["attributes"], "creationDate mfaAuthenticated")
	if raw, ok := all["sessionIssuer"]; ok {
		s.exactly("sessionContext.sessionIssuer", raw, "type principalId arn accountId userName")
	}
	if raw, ok := all["webIdFederationData"]; ok {
		s.exactly("sessionContext.webIdFederationData", raw, "federatedProvider attributes")
	}
}

func (s *shape) exactly(what string, raw json.RawMessage, want string) {
	have, _, err := objectOf(raw)
	if err != nil || !slices.Equal(have, strings.Fields(want)) {
		s.wrong("%s has %q, want %s (%v)", what, have, want, err)
	}
}

func (s *shape) apiCall() {
	r := &s.r
	var op *api.Operation
	for _, svc := range s.services {
		for _, o := range svc.Operations {
			if svc.EventSource == r.EventSource && cmp.Or(o.EventName, o.Name) == r.EventName {
				op = o
			}
		}
	}
	if op == nil {
		s.wrong("there is no operation %s of %s", r.EventName, r.EventSource)
		return
	}
	if r.ReadOnly != op.ReadOnly {
		s.wrong("readOnly = %v", r.ReadOnly)
	}
	// Some of AWS's errors have no text.
	if r.ErrorCode == "" && r.ErrorMessage != "" || strings.ContainsAny(r.ErrorCode, " :#") {
		s.wrong("errorCode = %q, errorMessage = %q", r.ErrorCode, r.ErrorMessage)
	}
	if _, ok := r.all["additionalEventData"]; ok {
		s.wrong("additionalEventData of a call")
	}
	s.parameters("requestParameters", op.Input, r.all["requestParameters"])
	answered := string(r.all["responseElements"]) != "null"
	switch {
	case answered && r.ErrorCode != "":
		s.wrong("responseElements of a call that failed")
	case answered && op.ReadOnly && !op.Recorded:
		s.wrong("responseElements of a read")
	case answered && op.Output == nil:
		s.wrong("responseElements of an operation without an answer")
	case answered:
		s.parameters("responseElements", op.Output, r.all["responseElements"])
	}
	if len(r.TLSDetails) != 0 && (len(r.TLSDetails) != 3 || !strings.HasPrefix(r.TLSDetails["tlsVersion"], "TLSv1.") || r.TLSDetails["cipherSuite"] == "" ||
		r.TLSDetails["clientProvidedHostHeader"] == "") {
		s.wrong("tlsDetails = %v", r.TLSDetails)
	}
}

// parameters checks that a value shows members of a shape under CloudTrail's names, and
// no sensitive one.
func (s *shape) parameters(at string, sh *api.Shape, raw json.RawMessage) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return
	}
	if sh.Sensitive {
		s.wrong("%s is shown, which is sensitive", at)
		return
	}
	switch sh.Kind {
	case api.Structure:
		_, all, err := objectOf(raw)
		if err != nil {
			s.wrong("%s: %v", at, err)
			return
		}
		if string(all["omitted"]) == "true" {
			return
		}
		for name, value := range all {
			i := slices.IndexFunc(sh.Fields, func(f api.Field) bool { return shownName(f.Name) == name })
			if i < 0 {
				s.wrong("%s has the member %s", at, name)
				continue
			}
			s.parameters(at+"."+name, sh.Fields[i].Shape, value)
		}
	case api.Map:
		_, all, err := objectOf(raw)
		if err != nil || sh.Key.Sensitive {
			s.wrong("%s: %v", at, err)
		}
		for _, value := range all {
			s.parameters(at+".*", sh.Elem, value)
		}
	case api.List:
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			s.wrong("%s: %v", at, err)
		}
		for _, value := range list {
			s.parameters(at+"[]", sh.Elem, value)
		}
	case api.Timestamp:
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			s.wrong("%s: %v", at, err)
		} else if _, err := time.Parse("Jan 2, 2006 3:04:05 PM", text); err != nil {
			s.wrong("%s = %q", at, text)
		}
	}
}

// shownName is a member's name in CloudTrail.
func shownName(name string) string {
	if name == "ARN" {
		return "arn"
	}
	return strings.ToLower(name[:1]) + name[1:]
}

func (s *shape) serviceEvent() {
	r := &s.r
	var who struct{ AccountID, InvokedBy string }
	_ = json.Unmarshal(r.all["userIdentity"], &who) // identity has looked at it
	if who.InvokedBy == "" || r.SourceIPAddress != who.InvokedBy || r.UserAgent != who.InvokedBy || who.AccountID != r.RecipientAccountID {
		s.wrong("userIdentity %+v, sourceIPAddress = %q, userAgent = %q, recipientAccountId = %q", who, r.SourceIPAddress, r.UserAgent, r.RecipientAccountID)
	}
	if string(r.all["requestParameters"]) != "null" || string(r.all["responseElements"]) != "null" || r.ReadOnly || r.ErrorCode != "" || r.TLSDetails != nil {
		s.wrong("a service event has members of a call")
	}
	if r.EventSource != "secretsmanager.amazonaws.com" {
		return
	}
	if !slices.Contains(strings.Fields(serviceEvents), r.EventName) || who.InvokedBy != r.EventSource {
		s.wrong("service event %s, invokedBy = %q", r.EventName, who.InvokedBy)
	}
	var data struct{ SecretID string }
	_ = json.Unmarshal(r.AdditionalEvents, &data)
	s.exactly("additionalEventData", r.AdditionalEvents, "SecretId")
	if !strings.HasPrefix(data.SecretID, "arn:") {
		s.wrong("additionalEventData = %s", r.AdditionalEvents)
	}
	if strings.Contains(r.EventName, "Rotation") && !rotationForm.MatchString(r.RequestID) {
		s.wrong("requestID of %s = %q", r.EventName, r.RequestID)
	}
	if failed := strings.HasSuffix(r.EventName, "Failed"); failed != (r.ErrorMessage != "") {
		s.wrong("%s has the errorMessage %q", r.EventName, r.ErrorMessage)
	}
}

// objectOf takes an object apart, and refuses one with a member twice.
func objectOf(raw []byte) (order []string, all map[string]json.RawMessage, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, fmt.Errorf("it begins with %v: %w", t, cmp.Or(err, errors.New("not an object")))
	}
	all = make(map[string]json.RawMessage)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		name, _ := t.(string) // keys are nothing else
		if _, twice := all[name]; twice {
			return nil, nil, fmt.Errorf("member %q is there twice", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		order, all[name] = append(order, name), value
	}
	_, err = dec.Token()
	return order, all, err
}
