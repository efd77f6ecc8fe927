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

// appendLines renders the records of this call: one for the account of the caller and
// one for each other account that owns something the call was about.
func (c *Call) appendLines(dst [][]byte, out any, aerr *api.Error) [][]byte {
	r := c.record(out, aerr)
	node := c.d.cfg.Store.NodeID()
	if len(c.resources) == 0 && len(c.owned) == 0 {
		return append(dst, c.paper.line(&r, node))
	}
	owners := c.owners()
	shared := ""
	if len(owners) > 0 {
		shared = sharedEventID(c.eventID)
		if c.denial == nil {
			// Who was denied must not learn from his own log that the resource exists.
			r.SharedEventID = shared
		}
	}
	dst = append(dst, c.paper.line(&r, node))
	for i, account := range owners {
		dst = append(dst, c.ownersLine(r, account, shared, i, node))
	}
	return dst
}

// maxOwners bounds the records that one call leaves in other accounts.
const maxOwners = 4

// owners are the accounts, other than the caller's, of what the call was about.
func (c *Call) owners() (list []string) {
	if c.Caller.Account == "" || c.Caller.Type == Anonymous {
		return nil
	}
	for _, of := range [...][]audit.Resource{c.resources, c.owned} {
		for i := range of {
			a := of[i].AccountID
			if a != "" && a != c.Caller.Account && len(list) < maxOwners && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}

// ownersLine is the record for the account of a resource. It names the caller as
// CloudTrail names strangers to an account, by account and principal id; which policy
// of the caller's decided is not that account's to know, and the changes are counted
// once.
func (c *Call) ownersLine(r audit.Record, account, shared string, i int, node string) []byte {
	r.EventID, r.SharedEventID, r.RecipientAccountID = ownersEventID(c.eventID, i), shared, account
	r.Identity = audit.Identity{
		Type: "AWSAccount", PrincipalID: r.Identity.PrincipalID, AccountID: r.Identity.AccountID, InvokedBy: r.Identity.InvokedBy,
	}
	if c.Caller.ARN != "" {
		r.ErrorMessage = strings.ReplaceAll(r.ErrorMessage, c.Caller.ARN, c.Caller.ID)
	}
	r.Changes, r.Denial = nil, nil
	r.Resources = slices.Clone(r.Resources)
	for _, res := range c.owned {
		if res.AccountID == account && res.ARN != "" && !slices.Contains(r.Resources, res) {
			r.Resources = append(r.Resources, res)
		}
	}
	return c.paper.line(&r, node)
}

// record is the record of this call for the account of its caller. It is valid until the
// next one.
func (c *Call) record(out any, aerr *api.Error) audit.Record {
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
		Decoy:              c.decoy,
	}
	if aerr != nil && c.denial != nil {
		d := audit.Denial(*c.denial)
		r.Denial = &d
	}
	if c.Op.ReadOnly && !c.Op.Recorded || c.Op.Output == nil {
		out = nil
	}
	r.RequestParameters, r.ResponseElements = c.paper.parameters(c.Op, c.in, out)
	if aerr != nil {
		r.ErrorCode, r.ErrorMessage = recordedCode(c.Op, aerr.Code), aerr.Message
	}
	if c.service != "" {
		r.Identity.InvokedBy, r.SourceIP, r.UserAgent = c.service, c.service, c.service
	} else if c.TLS != nil {
		r.TLS = &audit.TLSDetails{Version: c.TLS.Version, CipherSuite: c.TLS.CipherSuite, ClientProvidedHostHeader: c.Host}
	}
	return r
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
	lines := append(c.appendLines(nil, nil, nil), c.subLines...)
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
func derivedEventID(base string, i int) string { return offsetID(base, uint32(i)+1) }

// ownersEventID counts down instead, so that the ids of a call's records in other
// accounts are none of its events'.
func ownersEventID(base string, i int) string { return offsetID(base, -uint32(i)-1) }

// sharedEventID is what the records of one call in several accounts have in common. It
// is as far as can be from the ids of the records themselves.
func sharedEventID(base string) string { return offsetID(base, 1<<31) }

func offsetID(base string, by uint32) string {
	head, tail := base[:28], base[28:]
	n, _ := strconv.ParseUint(tail, 16, 32) // base is one of ours: always hexadecimal
	return fmt.Sprintf("%s%08x", head, uint32(n)+by)
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
