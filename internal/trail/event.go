package trail

import (
	"errors"
	"strings"
	"time"
)

// Event is what is known of one line.
type Event struct {
	// Dir is the directory of the node it is in, Node its name, which is the last part of
	// Dir; with the part before for a former generation of the node's log. Line is the
	// number of its line there. Parse does not know them.
	Dir, Node string
	Line      uint64

	ID, Name, Source, Region string
	// Account is the recipient's: whose history the event belongs to.
	Account string
	// UserName is as CloudTrail's event history has it: the name of a user, of a role's
	// session, or "root"; "" for what a service did.
	UserName    string
	AccessKeyID string
	ErrorCode   string
	SourceIP    string
	Principal   string // ARN of the caller
	Time        time.Time
	ReadOnly    bool
	Resources   []Resource
	Raw         []byte // the line, without its newline
}

// Resource is something that an event was about.
type Resource struct{ Type, Name string }

// ErrMalformed is the error for a line that is no record.
var ErrMalformed = errors.New("not an audit record")

// Parse reads a line's members. Raw of the result is the line itself, not a copy. Only
// what it needs is looked at: a line that it accepts may still not be valid JSON.
func Parse(line []byte) (Event, error) {
	var r record
	if !r.read(line) {
		return Event{}, ErrMalformed
	}
	e := r.event()
	e.Raw = line
	return e, nil
}

// event copies what the record says; nothing of it points into the line.
func (r *record) event() Event {
	e := Event{
		ID: str(r.id), Name: str(r.name), Source: str(r.source), Region: str(r.region), Account: str(r.account),
		UserName: str(r.userName), AccessKeyID: str(r.accessKey), ErrorCode: str(r.errorCode),
		SourceIP: str(r.sourceIP), Principal: str(r.principal),
		Time: time.Unix(r.time, 0).UTC(), ReadOnly: r.readOnly,
	}
	if len(r.resources) > 0 {
		e.Resources = make([]Resource, len(r.resources))
		for i, one := range r.resources {
			e.Resources[i] = Resource{Type: strings.ToValidUTF8(one.kind, "\uFFFD"), Name: str(one.name)}
		}
	}
	return e
}

// str makes text of bytes that may be no UTF-8: not our lines, but lines that somebody
// else has put there.
func str(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// WithoutOwn is a line as CloudTrail would have it: without the member "arca", which
// says what no CloudTrail record says. It returns the line itself when there is none.
func WithoutOwn(line []byte) []byte {
	c := cursor{b: line}
	if !c.enter('{') {
		return line
	}
	var out []byte
	last, kept := 0, false // line[last:] is still to be copied; a member was kept
	for first := true; ; first = false {
		before := c.i
		name, done, ok := c.member(first)
		if !ok {
			return line
		}
		if done {
			break
		}
		own := string(name) == ownMember
		if !c.skip() {
			return line
		}
		if !own {
			kept = true
			continue
		}
		if out == nil {
			out = make([]byte, 0, len(line))
		}
		if before > last {
			out = append(out, line[last:before]...)
		}
		if last = c.i; !kept && c.peek() == ',' {
			last = c.i + 1
		}
	}
	if out == nil {
		return line
	}
	return append(out, line[last:]...)
}

const ownMember = "arca"
