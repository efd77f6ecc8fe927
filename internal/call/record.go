package call

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"arca/internal/api"
	"arca/internal/audit"
	"arca/internal/store"
)

// ServiceEvent is something a service did without being called: CloudTrail's
// AwsServiceEvent (behaviour of record fields: AWS CloudTrail user guide).
type ServiceEvent struct {
	Source      string // "secretsmanager.amazonaws.com"
	Name        string // "EndSecretVersionDelete"
	Account     string
	Region      string
	ResourceARN string // shown as additionalEventData.SecretId
	RequestID   string // "" draws one
	Error       string // errorMessage; "" for success
}

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
		EventName:          c.Op.Name,
		ReadOnly:           c.Op.ReadOnly,
		Region:             c.Region,
		SourceIP:           c.SourceIP,
		UserAgent:          c.UserAgent,
		RequestID:          c.RequestID,
		RecipientAccountID: c.Caller.Account,
		Identity: audit.Identity{
			Type: string(c.Caller.Type), PrincipalID: c.Caller.ID, ARN: c.Caller.ARN,
			AccountID: c.Caller.Account, AccessKeyID: c.Caller.AccessKeyID, UserName: c.Caller.UserName,
		},
		Changes: auditChanges(c.changes),
	}
	if c.in != nil {
		r.RequestParameters = api.AppendAuditParameters(nil, c.Op.Input, c.in)
	}
	if out != nil && !c.Op.ReadOnly && c.Op.Output != nil {
		r.ResponseElements = api.AppendAuditParameters(nil, c.Op.Output, out)
	}
	if aerr != nil {
		r.ErrorCode, r.ErrorMessage = aerr.Code.Name, aerr.Message
	}
	if c.TLS != nil {
		r.TLS = &audit.TLSDetails{Version: c.TLS.Version, CipherSuite: c.TLS.CipherSuite, ClientProvidedHostHeader: c.Host}
	}
	return r.AppendLine(nil, c.d.cfg.Store.NodeID())
}

// effectLines is what the transaction keeps of this call until its log lines are
// synced: the same records, but for the answer, which is not known yet.
func (c *Call) effectLines() []byte {
	return joinLines(append([][]byte{c.line(nil, nil)}, c.eventLines()...))
}

func (c *Call) eventLines() [][]byte {
	if len(c.events) == 0 {
		return nil
	}
	for i := range c.events {
		if c.events[i].RequestID == "" {
			c.events[i].RequestID = c.RequestID
		}
	}
	return c.d.serviceLinesFrom(c.eventID, c.Now, c.events, nil)
}

func (d *Dispatcher) serviceLines(now time.Time, events []ServiceEvent, changes []store.Change) [][]byte {
	return d.serviceLinesFrom(newEventID(), now, events, changes)
}

// serviceLinesFrom renders events with ids derived from base, so that the effect
// and the log line of one event carry the same id.
func (d *Dispatcher) serviceLinesFrom(base string, now time.Time, events []ServiceEvent, changes []store.Change) [][]byte {
	lines := make([][]byte, 0, len(events))
	for i, e := range events {
		if e.RequestID == "" {
			e.RequestID = base
		}
		r := audit.Record{
			EventID:            derivedEventID(base, i),
			EventTime:          now,
			EventType:          "AwsServiceEvent",
			EventSource:        e.Source,
			EventName:          e.Name,
			Region:             e.Region,
			SourceIP:           e.Source,
			UserAgent:          e.Source,
			RequestID:          e.RequestID,
			RecipientAccountID: e.Account,
			ErrorMessage:       e.Error,
			Identity:           audit.Identity{AccountID: e.Account, InvokedBy: e.Source},
		}
		if e.ResourceARN != "" {
			arn, _ := json.Marshal(e.ResourceARN) // a string always encodes
			r.AdditionalEventData = fmt.Appendf(nil, `{"SecretId":%s}`, arn)
		}
		if i == 0 {
			r.Changes = auditChanges(changes)
		}
		lines = append(lines, r.AppendLine(nil, d.cfg.Store.NodeID()))
	}
	return lines
}

// derivedEventID changes the last digits of a random id by the event's number.
func derivedEventID(base string, i int) string {
	var tail [4]byte
	hi, _ := hex.DecodeString(base[28:36]) // base is one of ours: always hex
	copy(tail[:], hi)
	n := uint32(tail[0])<<24 | uint32(tail[1])<<16 | uint32(tail[2])<<8 | uint32(tail[3])
	n += uint32(i) + 1
	return base[:28] + hex.EncodeToString([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
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

func joinLines(lines [][]byte) []byte { return bytes.Join(lines, []byte{'\n'}) }

func splitLines(data []byte) [][]byte { return bytes.Split(data, []byte{'\n'}) }

// lineIdentity reads what Recover needs of a line.
func lineIdentity(line []byte) (id string, at time.Time, err error) {
	var m struct {
		EventID   string    `json:"eventID"`
		EventTime time.Time `json:"eventTime"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return "", time.Time{}, fmt.Errorf("parse audit line: %w", err)
	}
	return m.EventID, m.EventTime, nil
}
