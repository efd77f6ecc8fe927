package trail

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Filter says which events are asked for: those that have everything that is set.
type Filter struct {
	Account, Region string
	From, To        time.Time // both included, to the second

	EventID      string
	EventName    string
	ReadOnly     *bool
	UserName     string
	ResourceType string
	ResourceName string // exactly as the event has it
	EventSource  string
	AccessKeyID  string

	Failed    bool // only events with an error
	ErrorCode string
	SourceIP  string // an address, a name, or a network such as 10.0.0.0/8
	Principal string // ARN of the caller
	// Resource is a name or ARN of a resource, under which events are found that name
	// it otherwise.
	Resource string
	// Text occurs in the line, in small or capital letters.
	Text string
}

// ErrAttribute is the error for an attribute that LookupEvents does not have, or a
// value that its attribute cannot have.
var ErrAttribute = errors.New("no such lookup attribute")

// Set asks for one of the attributes of LookupEvents.
func (f *Filter) Set(attribute, value string) error {
	switch attribute {
	case "EventId":
		f.EventID = value
	case "EventName":
		f.EventName = value
	case "ReadOnly":
		switch value {
		case "true":
			f.ReadOnly = new(true)
		case "false":
			f.ReadOnly = new(false)
		default:
			return fmt.Errorf("%w: ReadOnly is true or false", ErrAttribute)
		}
	case "Username":
		f.UserName = value
	case "ResourceType":
		f.ResourceType = value
	case "ResourceName":
		f.ResourceName = value
	case "EventSource":
		f.EventSource = value
	case "AccessKeyId":
		f.AccessKeyID = value
	default:
		return fmt.Errorf("%w: %q", ErrAttribute, attribute)
	}
	return nil
}

// Match reports whether an event is one that is asked for. It looks at the event's line.
// A filter that Search refuses matches nothing.
func (f *Filter) Match(e *Event) bool {
	q, err := f.compile()
	if err != nil {
		return false
	}
	var r record
	return r.read(e.Raw) && q.matches(&r, e.Raw)
}

// query is a filter made ready.
type query struct {
	Filter
	from, to int64 // Unix seconds, both included
	text     []byte
	network  netip.Prefix // valid: SourceIP is a network
}

// maxTime is the end of the times that there can be.
const maxTime = 1<<62 - 1

func (f *Filter) compile() (*query, error) {
	q := &query{Filter: *f, to: maxTime}
	if !f.From.IsZero() {
		q.from = f.From.Unix()
		if f.From.Nanosecond() > 0 {
			q.from++ // events have whole seconds
		}
	}
	if !f.To.IsZero() {
		q.to = f.To.Unix()
	}
	if f.Text != "" {
		q.text = bytes.ToLower([]byte(f.Text))
	}
	if strings.Contains(f.SourceIP, "/") {
		p, err := netip.ParsePrefix(f.SourceIP)
		if err != nil {
			return nil, fmt.Errorf("source address %q: %w", f.SourceIP, err)
		}
		q.network = p.Masked()
	}
	return q, nil
}

func (q *query) matches(r *record, line []byte) bool {
	is := func(asked string, has []byte) bool { return asked == "" || asked == string(has) }
	switch {
	case r.time < q.from || r.time > q.to,
		!is(q.Account, r.account), !is(q.Region, r.region), !is(q.EventID, r.id), !is(q.EventName, r.name),
		!is(q.UserName, r.userName), !is(q.EventSource, r.source), !is(q.AccessKeyID, r.accessKey),
		!is(q.Principal, r.principal),
		!is(q.ErrorCode, r.errorCode), q.Failed && !r.failed,
		q.ReadOnly != nil && *q.ReadOnly != r.readOnly:
		return false
	}
	return q.fromSource(r.sourceIP) && q.about(r) &&
		(q.text == nil || bytes.Contains(bytes.ToLower(line), q.text))
}

func (q *query) fromSource(ip []byte) bool {
	if !q.network.IsValid() {
		return q.SourceIP == "" || q.SourceIP == string(ip)
	}
	a, err := netip.ParseAddr(string(ip))
	return err == nil && q.network.Contains(a.Unmap())
}

// about compares resources. Type and name may be those of two resources of the event,
// as each is asked for on its own.
func (q *query) about(r *record) bool {
	kind, name, loose := q.ResourceType == "", q.ResourceName == "", q.Resource == ""
	if kind && name && loose {
		return true
	}
	for _, one := range r.resources {
		kind = kind || one.kind == q.ResourceType
		name = name || string(one.name) == q.ResourceName
		loose = loose || sameResource(q.Resource, string(one.name), string(r.account), string(r.region))
	}
	return kind && name && loose
}

// terms are the keys that all events that are asked for have. Of each, one is enough.
func (q *query) terms(h *hasher, p place) [][]uint64 {
	var terms [][]uint64
	add := func(a attribute, value string) {
		if value != "" {
			terms = append(terms, []uint64{h.keyOf(p, a, value)})
		}
	}
	add(eventName, q.EventName)
	add(userName, q.UserName)
	add(resourceKind, q.ResourceType)
	if q.ResourceName != "" {
		add(resourceName, appendIndexed(nil, q.ResourceName)[0])
	}
	add(eventSource, q.EventSource)
	add(accessKeyID, q.AccessKeyID)
	add(errorCode, q.ErrorCode)
	if !q.network.IsValid() {
		add(sourceIP, q.SourceIP)
	}
	if q.ReadOnly != nil {
		add(readOnly, string(readOnlyText(*q.ReadOnly)))
	}
	if q.Resource != "" {
		var names []uint64
		for _, name := range appendIndexed(nil, q.Resource) {
			names = append(names, h.keyOf(p, resourceName, name))
		}
		terms = append(terms, names)
	}
	if terms == nil {
		terms = [][]uint64{{h.keyOf(p, anyEvent, "")}}
	}
	return terms
}
