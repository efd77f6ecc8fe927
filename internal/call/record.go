package call

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/api"
	"arca/internal/audit"
	"arca/internal/store"
)

// newEventID draws a random UUID, version 4.
func newEventID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails: crypto/rand ends the program instead
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[:8], u[:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// line renders the record of this call.
func (c *Call) line(out any, aerr *api.Error) []byte {
	r := audit.Record{
		EventID:            c.eventID,
		EventTime:          c.Now,
		EventType:          "AwsApiCall",
		EventSource:        c.Op.Service.EventSource,
		EventName:          cmp.Or(c.Op.EventName, c.Op.Name),
		ReadOnly:           c.Op.ReadOnly,
		Region:             c.Region,
		SourceIP:           c.SourceIP,
		UserAgent:          c.UserAgent,
		RequestID:          c.RequestID,
		RecipientAccountID: c.Caller.Account,
		Identity:           c.Caller.identity(),
		Changes:            auditChanges(c.changes),
		Resources:          c.resources,
	}
	if aerr != nil && c.denial != nil {
		d := audit.Denial(*c.denial)
		r.Denial = &d
	}
	if c.in != nil {
		r.RequestParameters = api.AppendAuditParameters(nil, c.Op.Input, c.in)
	}
	if out != nil && (!c.Op.ReadOnly || c.Op.Recorded) && c.Op.Output != nil {
		r.ResponseElements = api.AppendAuditParameters(nil, c.Op.Output, out)
	}
	if aerr != nil {
		r.ErrorCode, r.ErrorMessage = recordedCode(c.Op, aerr.Code), aerr.Message
	}
	if c.service != "" {
		r.Identity.InvokedBy, r.SourceIP, r.UserAgent = c.service, c.service, c.service
	} else if c.TLS != nil {
		r.TLS = &audit.TLSDetails{Version: c.TLS.Version, CipherSuite: c.TLS.CipherSuite, ClientProvidedHostHeader: c.Host}
	}
	return r.AppendLine(make([]byte, 0, lineBytes), c.d.cfg.Store.NodeID())
}

// recordedCode is a code as CloudTrail shows it. On the wire of the Query protocol the
// exceptions of a service have shorter names than in its model, and records have the
// model's: NoSuchEntity is recorded as NoSuchEntityException. What is in no model, such
// as AccessDenied, has one name.
func recordedCode(op *api.Operation, code *api.Code) string {
	if op.Service.Protocol != api.Query || strings.HasSuffix(code.Name, "Exception") || !slices.Contains(op.Errors, code) {
		return code.Name
	}
	return code.Name + "Exception"
}

// identity is the caller as CloudTrail shows it. The bearer of a token belongs to no
// account: whose role he asks for is in recipientAccountId.
func (p *Principal) identity() audit.Identity {
	id := audit.Identity{
		Type: string(p.Type), PrincipalID: p.ID, ARN: p.ARN,
		AccountID: p.Account, AccessKeyID: p.AccessKeyID, UserName: p.UserName, IdentityProvider: p.Provider,
	}
	if p.Type == WebIdentityUser {
		id.AccountID = ""
	}
	s := p.Session
	if s == nil {
		return id
	}
	id.Session = &audit.SessionContext{Created: s.Issued, SourceIdentity: s.SourceIdentity, Provider: s.Provider}
	if s.IssuerType == "Role" {
		id.Session.IssuerType, id.Session.IssuerID, id.Session.IssuerARN = s.IssuerType, s.IssuerID, s.IssuerARN
		id.Session.IssuerAccount, id.Session.IssuerName = p.Account, s.IssuerName
	}
	return id
}

// lineBytes is room for an ordinary line.
const lineBytes = 1280

// effectLines is what the transaction keeps of this call until its log lines are
// synced: the same records, but for the answer, which is not known yet.
func (c *Call) effectLines() []byte {
	lines := append([][]byte{c.line(nil, nil)}, c.subLines...)
	return joinLines(append(lines, c.eventLines()...))
}

// eventLines are the records of the events this call caused.
func (c *Call) eventLines() [][]byte {
	for i := range c.events {
		if c.events[i].RequestID == "" {
			c.events[i].RequestID = c.RequestID
		}
	}
	return c.d.serviceLines(c.eventID, c.Now, c.events, nil)
}

// serviceLines renders events with ids derived from base, so that the effect and the
// log line of one event carry the same id. The changes go into the first.
func (d *Dispatcher) serviceLines(base string, now time.Time, events []ServiceEvent, changes []store.Change) [][]byte {
	lines := make([][]byte, 0, len(events))
	for i, e := range events {
		by := cmp.Or(e.InvokedBy, e.Source)
		r := audit.Record{
			EventID:            derivedEventID(base, i),
			EventTime:          now,
			EventType:          "AwsServiceEvent",
			EventSource:        e.Source,
			EventName:          e.Name,
			Region:             e.Region,
			SourceIP:           by,
			UserAgent:          by,
			RequestID:          cmp.Or(e.RequestID, base),
			RecipientAccountID: e.Account,
			ErrorMessage:       e.Error,
			Identity:           audit.Identity{AccountID: e.Account, InvokedBy: by},
			EventDetails:       e.Details,
		}
		switch {
		case e.ResourceARN == "":
		case e.ResourceType != "":
			r.Resources = []audit.Resource{{AccountID: e.Account, Type: e.ResourceType, ARN: e.ResourceARN}}
		default:
			r.AdditionalEventData = append(api.AppendJSONString([]byte(`{"SecretId":`), e.ResourceARN), '}')
		}
		if i == 0 {
			r.Changes = auditChanges(changes)
		}
		lines = append(lines, r.AppendLine(nil, d.cfg.Store.NodeID()))
	}
	return lines
}

// derivedEventID adds the event's number, counted from 1, to the last eight digits of
// a random id.
func derivedEventID(base string, i int) string {
	head, tail := base[:28], base[28:]
	n, _ := strconv.ParseUint(tail, 16, 32) // base is one of ours: always hexadecimal
	return fmt.Sprintf("%s%08x", head, uint32(n)+uint32(i)+1)
}

func auditChanges(changes []store.Change) []audit.Change {
	if len(changes) == 0 {
		return nil
	}
	out := make([]audit.Change, len(changes))
	for i, ch := range changes {
		out[i] = audit.Change(ch)
	}
	return out
}

// joinLines is undone by splitting at newlines: a line holds none.
func joinLines(lines [][]byte) []byte { return bytes.Join(lines, []byte{'\n'}) }
