package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Detail types of events that come from lines of the audit log. They are AWS's.
const (
	apiCall      = "AWS API Call via CloudTrail"
	serviceEvent = "AWS Service Event via CloudTrail"
)

// timeFormat is how EventBridge writes an event's time.
const timeFormat = "2006-01-02T15:04:05Z"

// Event is an event in EventBridge's envelope.
type Event struct {
	// ID is drawn by Bus.Emit when it is empty.
	ID         string
	DetailType string
	Source     string
	Account    string
	Time       time.Time // the time of Bus.Emit when zero
	Region     string
	Resources  []string
	Detail     json.RawMessage // an object

	// Key names a state that the event reports, such as that of one disk. Of the
	// events with one key that wait, only the newest is kept. Empty for events that
	// stand for themselves.
	Key string
	// Quiet events are seen by alarms and sent to nobody.
	Quiet bool
}

// envelope is an event as it is written.
type envelope struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

// MarshalJSON writes EventBridge's envelope.
func (e Event) MarshalJSON() ([]byte, error) {
	w := envelope{Version: "0", ID: e.ID, DetailType: e.DetailType, Source: e.Source, Account: e.Account,
		Time: e.Time.UTC().Format(timeFormat), Region: e.Region, Resources: e.Resources, Detail: e.Detail}
	if w.Resources == nil {
		w.Resources = []string{}
	}
	if len(w.Detail) == 0 {
		w.Detail = json.RawMessage("{}")
	}
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("write event %s: %w", e.DetailType, err)
	}
	return b, nil
}

// errLine: a line of the log is not a record.
var errLine = errors.New("audit line is not a CloudTrail record")

// reader turns lines into events. It is for one goroutine.
type reader struct {
	head, line, event document
	buf               []byte
}

// read makes an event of a line of the audit log. The document, which is the event
// with its envelope, is valid until the next call.
//
// Everything in the envelope comes from the record, so that the same line always
// makes the same event, and its id is the record's: a receiver that gets the event
// twice can tell.
func (r *reader) read(line []byte) (*document, error) {
	if err := r.line.parse(line); err != nil || r.line.nodes[0].kind != object {
		return nil, errLine
	}
	id := r.line.string(r.line.member(0, "eventID"))
	source := r.line.string(r.line.member(0, "eventSource"))
	if id == "" || source == "" {
		return nil, errLine
	}
	detailType := apiCall
	if r.line.string(r.line.member(0, "eventType")) == "AwsServiceEvent" {
		detailType = serviceEvent
	}
	b := append(r.buf[:0], `{"version":"0","id":`...)
	b = appendQuoted(b, id)
	b = append(append(append(b, `,"detail-type":"`...), detailType...), `","source":`...)
	b = appendQuoted(b, serviceSource(source))
	b = append(b, `,"account":`...)
	b = appendQuoted(b, r.line.string(r.line.member(0, "recipientAccountId")))
	b = append(b, `,"time":`...)
	b = appendQuoted(b, r.line.string(r.line.member(0, "eventTime")))
	b = append(b, `,"region":`...)
	b = appendQuoted(b, r.line.string(r.line.member(0, "awsRegion")))
	b = append(b, `,"resources":[],"detail":`...)
	shift := len(b)
	b = append(b, "{}}"...)
	if err := r.head.parse(b); err != nil {
		return nil, errLine
	}
	b = append(append(b[:shift], line...), '}')
	r.buf = b
	r.graft(b, shift)
	return &r.event, nil
}

// graft makes the event's document of two that have been parsed already: the
// envelope around an empty detail, and the line that takes the detail's place.
func (r *reader) graft(buf []byte, shift int) {
	at := len(r.head.nodes) - 1 // the detail is last
	nodes := append(r.event.nodes[:0], r.head.nodes...)
	detail := nodes[at]
	nodes = append(nodes[:at], r.line.nodes...)
	for i := at; i < len(nodes); i++ {
		n := &nodes[i]
		n.keyStart += int32(shift)
		n.keyEnd += int32(shift)
		n.start += int32(shift)
		n.end += int32(shift)
		n.next += int32(at)
	}
	nodes[at].keyStart, nodes[at].keyEnd = detail.keyStart, detail.keyEnd
	nodes[0].end, nodes[0].next = int32(len(buf)), int32(len(nodes))
	r.event.buf, r.event.nodes = buf, nodes
}

// serviceSource is what EventBridge calls the service of an eventSource.
func serviceSource(eventSource string) string {
	name, found := strings.CutSuffix(eventSource, ".amazonaws.com")
	if !found {
		return eventSource
	}
	return "aws." + name
}

// appendQuoted appends s as a JSON string. Nearly always nothing needs escaping.
func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			q, err := json.Marshal(s)
			if err != nil {
				return append(dst, `""`...) // not possible for a string
			}
			return append(dst, q...)
		}
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"')
}
