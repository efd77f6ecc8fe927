package audit

import (
	"encoding/hex"
	"strconv"
	"time"
)

// Bounds of one record, in bytes before JSON escaping. They are CloudTrail's where
// CloudTrail states one. Together they keep every line below MaxLineBytes.
const (
	maxTextBytes       = 1 << 10 // user agent, error code, error message, host header, and every other string
	maxARNBytes        = 2 << 10
	maxTypeBytes       = 128       // account and type of a resource
	maxParametersBytes = 100 << 10 // requestParameters and responseElements, each
	maxAdditionalBytes = 28 << 10
	maxDetailsBytes    = 4 << 10
	maxResources       = 32
)

// Record is one CloudTrail-shaped record, before it becomes a line. Members that
// hold secrets never get here: package call builds the JSON objects from shapes
// whose sensitive members are left out.
type Record struct {
	EventID             string
	EventTime           time.Time // written in UTC, to the second, as CloudTrail does
	EventType           string    // AwsApiCall or AwsServiceEvent
	EventSource         string
	EventName           string
	ReadOnly            bool
	Region              string
	SourceIP            string
	UserAgent           string
	Identity            Identity
	RequestID           string
	ErrorCode           string // empty leaves the member out
	ErrorMessage        string // likewise; service events have one without a code
	RequestParameters   []byte // JSON object, or empty for null
	ResponseElements    []byte // JSON object, or empty for null
	AdditionalEventData []byte // JSON object, or nil to leave the member out
	EventDetails        []byte // serviceEventDetails of a service event, likewise
	RecipientAccountID  string
	// SharedEventID is the same in the records that one call leaves in several accounts;
	// empty leaves the member out.
	SharedEventID string
	TLS           *TLSDetails // nil leaves the member out
	Resources     []Resource
	// Changes go into the member "arca": what the call did to stored records.
	Changes []Change
	// Denial goes there, too: why the call was denied; nil when it was not.
	Denial *Denial
	// Decoy goes there as well: the call asked for a secret that nobody has a reason to
	// read.
	Decoy bool
}

// Denial says which statement denied a call, or which kind of Allow was missing.
type Denial struct {
	Action, Resource, Reason string
	Policy, Statement        string // empty when an Allow was missing
}

// Identity is CloudTrail's userIdentity. Empty members are left out, so that a
// service event shows accountId and invokedBy alone.
type Identity struct {
	Type        string // Root, IAMUser, AssumedRole, WebIdentityUser, AWSService, AWSAccount
	PrincipalID string
	ARN         string
	AccountID   string
	AccessKeyID string
	UserName    string
	InvokedBy   string
	// IdentityProvider is the issuer that vouches for a WebIdentityUser.
	IdentityProvider string
	// Session goes into sessionContext; nil for long-lived credentials.
	Session *SessionContext
}

// SessionContext is CloudTrail's sessionContext: what temporary credentials say.
type SessionContext struct {
	// Issuer is the role (or, for GetSessionToken, nobody: the type is then empty).
	IssuerType, IssuerID, IssuerARN, IssuerAccount, IssuerName string
	Created                                                    time.Time
	SourceIdentity                                             string
	Provider                                                   string // ARN of the OIDC provider
}

// TLSDetails is CloudTrail's tlsDetails.
type TLSDetails struct{ Version, CipherSuite, ClientProvidedHostHeader string }

// Resource is one entry of CloudTrail's resources.
type Resource struct{ AccountID, Type, ARN string }

// Change says what a commit did to one stored record. It mirrors store.Change: with
// it the log can prove later which state the store had reached.
type Change struct {
	Table    string
	Key      []byte // the key in etcd
	Sequence uint64
	SHA256   [32]byte // of the sealed record; all zero when deleted
	Deleted  bool
}

// AppendLine appends the record to dst as one line of JSON, without the newline,
// and returns the extended slice. The line is the leaf data of the Merkle tree.
//
// Whatever the strings hold, the result is valid UTF-8 and valid JSON without any
// control character, and shorter than MaxLineBytes as long as Changes come from one
// transaction. Strings that are too long are cut; a JSON object that is too long,
// or not one at all, is replaced by CloudTrail's note that it was omitted.
func (r *Record) AppendLine(dst []byte, node string) []byte {
	dst = append(dst, `{"eventVersion":"1.11","userIdentity":`...)
	dst = r.Identity.append(dst)
	dst = append(dst, `,"eventTime":"`...)
	dst = r.EventTime.UTC().AppendFormat(dst, time.RFC3339)
	dst = appendMember(dst, `","eventSource":`, r.EventSource)
	dst = appendMember(dst, `,"eventName":`, r.EventName)
	dst = appendMember(dst, `,"awsRegion":`, r.Region)
	dst = appendMember(dst, `,"sourceIPAddress":`, r.SourceIP)
	dst = appendMember(dst, `,"userAgent":`, r.UserAgent)
	if r.ErrorCode != "" {
		dst = appendMember(dst, `,"errorCode":`, r.ErrorCode)
	}
	if r.ErrorMessage != "" {
		dst = appendMember(dst, `,"errorMessage":`, r.ErrorMessage)
	}
	dst = append(dst, `,"requestParameters":`...)
	dst = appendObject(dst, r.RequestParameters, maxParametersBytes, "requestParameters")
	dst = append(dst, `,"responseElements":`...)
	dst = appendObject(dst, r.ResponseElements, maxParametersBytes, "responseElements")
	if r.AdditionalEventData != nil {
		dst = append(dst, `,"additionalEventData":`...)
		dst = appendObject(dst, r.AdditionalEventData, maxAdditionalBytes, "additionalEventData")
	}
	if r.EventDetails != nil {
		dst = append(dst, `,"serviceEventDetails":`...)
		dst = appendObject(dst, r.EventDetails, maxDetailsBytes, "serviceEventDetails")
	}
	dst = appendMember(dst, `,"requestID":`, r.RequestID)
	dst = appendMember(dst, `,"eventID":`, r.EventID)
	dst = append(dst, `,"readOnly":`...)
	dst = strconv.AppendBool(dst, r.ReadOnly)
	dst = appendResources(dst, r.Resources)
	dst = appendMember(dst, `,"eventType":`, r.EventType)
	dst = append(dst, `,"managementEvent":true`...)
	dst = appendMember(dst, `,"recipientAccountId":`, r.RecipientAccountID)
	dst = appendOptional(dst, `,"sharedEventID":`, r.SharedEventID, maxTextBytes)
	dst = append(dst, `,"eventCategory":"Management"`...)
	if t := r.TLS; t != nil {
		dst = appendMember(dst, `,"tlsDetails":{"tlsVersion":`, t.Version)
		dst = appendMember(dst, `,"cipherSuite":`, t.CipherSuite)
		dst = appendMember(dst, `,"clientProvidedHostHeader":`, t.ClientProvidedHostHeader)
		dst = append(dst, '}')
	}
	dst = appendMember(dst, `,"arca":{"node":`, node)
	if r.Denial != nil {
		dst = r.Denial.append(dst)
	}
	if r.Decoy {
		dst = append(dst, `,"decoy":true`...)
	}
	dst = appendChanges(dst, r.Changes)
	return append(dst, "}}"...)
}

func (id *Identity) append(dst []byte) []byte {
	open := len(dst)
	dst = appendOptional(dst, `,"type":`, id.Type, maxTextBytes)
	dst = appendOptional(dst, `,"principalId":`, id.PrincipalID, maxTextBytes)
	dst = appendOptional(dst, `,"arn":`, id.ARN, maxARNBytes)
	dst = appendOptional(dst, `,"accountId":`, id.AccountID, maxTextBytes)
	dst = appendOptional(dst, `,"accessKeyId":`, id.AccessKeyID, maxTextBytes)
	dst = appendOptional(dst, `,"userName":`, id.UserName, maxTextBytes)
	dst = appendOptional(dst, `,"invokedBy":`, id.InvokedBy, maxTextBytes)
	dst = appendOptional(dst, `,"identityProvider":`, id.IdentityProvider, maxARNBytes)
	if id.Session != nil {
		dst = append(dst, `,"sessionContext":`...)
		dst = id.Session.append(dst)
	}
	if len(dst) == open {
		return append(dst, "{}"...)
	}
	dst[open] = '{'
	return append(dst, '}')
}

// append writes the members as CloudTrail orders them. There are no MFA devices.
func (sc *SessionContext) append(dst []byte) []byte {
	dst = append(dst, '{')
	if sc.IssuerType != "" {
		dst = append(dst, `"sessionIssuer":`...)
		open := len(dst)
		dst = appendOptional(dst, `,"type":`, sc.IssuerType, maxTypeBytes)
		dst = appendOptional(dst, `,"principalId":`, sc.IssuerID, maxTextBytes)
		dst = appendOptional(dst, `,"arn":`, sc.IssuerARN, maxARNBytes)
		dst = appendOptional(dst, `,"accountId":`, sc.IssuerAccount, maxTypeBytes)
		dst = appendOptional(dst, `,"userName":`, sc.IssuerName, maxTextBytes)
		dst[open] = '{'
		dst = append(dst, `},`...)
	}
	if sc.Provider != "" {
		dst = append(dst, `"webIdFederationData":{"federatedProvider":`...)
		dst = appendString(dst, sc.Provider, maxARNBytes)
		dst = append(dst, `,"attributes":{}},`...)
	}
	dst = append(dst, `"attributes":{"creationDate":"`...)
	dst = sc.Created.UTC().AppendFormat(dst, time.RFC3339)
	dst = append(dst, `","mfaAuthenticated":"false"}`...)
	dst = appendOptional(dst, `,"sourceIdentity":`, sc.SourceIdentity, maxTextBytes)
	return append(dst, '}')
}

func (d *Denial) append(dst []byte) []byte {
	dst = append(dst, `,"denied":`...)
	open := len(dst)
	dst = appendOptional(dst, `,"action":`, d.Action, maxTextBytes)
	dst = appendOptional(dst, `,"resource":`, d.Resource, maxARNBytes)
	dst = appendOptional(dst, `,"reason":`, d.Reason, maxTextBytes)
	dst = appendOptional(dst, `,"policy":`, d.Policy, maxARNBytes)
	dst = appendOptional(dst, `,"statement":`, d.Statement, maxTextBytes)
	dst[open] = '{'
	return append(dst, '}')
}

func appendResources(dst []byte, resources []Resource) []byte {
	if len(resources) == 0 {
		return dst
	}
	dst = append(dst, `,"resources":`...)
	sep := byte('[')
	for i := range resources[:min(len(resources), maxResources)] {
		r := &resources[i]
		dst = append(dst, sep)
		sep = ','
		open := len(dst)
		dst = appendOptional(dst, `,"accountId":`, r.AccountID, maxTypeBytes)
		dst = appendOptional(dst, `,"type":`, r.Type, maxTypeBytes)
		dst = append(dst, `,"ARN":`...)
		dst = appendString(dst, r.ARN, maxARNBytes)
		dst[open] = '{'
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendChanges(dst []byte, changes []Change) []byte {
	if len(changes) == 0 {
		return dst
	}
	dst = append(dst, `,"changes":`...)
	sep := byte('[')
	for i := range changes {
		c := &changes[i]
		dst = append(dst, sep)
		sep = ','
		dst = appendMember(dst, `{"table":`, c.Table)
		dst = append(dst, `,"key":"`...)
		dst = hex.AppendEncode(dst, c.Key)
		dst = append(dst, `","sequence":`...)
		dst = strconv.AppendUint(dst, c.Sequence, 10)
		if c.Deleted {
			dst = append(dst, `,"deleted":true}`...)
			continue
		}
		dst = append(dst, `,"sha256":"`...)
		dst = hex.AppendEncode(dst, c.SHA256[:])
		dst = append(dst, `"}`...)
	}
	return append(dst, ']')
}
