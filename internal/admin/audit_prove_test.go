package admin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/merkle"
)

// An event is proven to somebody who has the key alone; and for the checkpoint that he has
// kept, if it covers the event.
func TestProveAuditEvent(t *testing.T) {
	b := newBed(t, false)
	b.account(t, "other")
	id := b.newest(t, "CreateAccount")
	out := b.prove(t, id)
	p, c, err := merkle.CheckProof([]byte(*out.Proof), nil, *out.VerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	if string(p.Extra) != *out.Record || !strings.Contains(*out.Record, `"eventID":"`+id+`"`) || int64(p.Index) != *out.Line || *out.Node != b.store.NodeID() {
		t.Errorf("proof of line %d with %s, and the answer %+v", p.Index, p.Extra, out)
	}
	if _, _, err := merkle.CheckProof([]byte(*out.Proof), []byte(strings.Replace(*out.Record, "other", "third", 1)), *out.VerifierKey); err == nil {
		t.Error("the proof proves another record")
	}

	b.account(t, "third")
	later := b.newest(t, "CreateAccount")
	b.prove(t, later)
	kept := string(c.Text)
	again := must[arcaapi.ProveAuditEventOutput](t, b, arcaapi.OpProveAuditEvent, &arcaapi.ProveAuditEventInput{EventId: id, Checkpoint: &kept}, root)
	if _, c2, err := merkle.CheckProof([]byte(*again.Proof), nil, *again.VerifierKey); err != nil || c2.Size != c.Size || c2.Root != c.Root {
		t.Errorf("the proof for a kept checkpoint leads to %+v, %v", c2, err)
	}
	for name, test := range map[string]struct {
		in   arcaapi.ProveAuditEventInput
		want string
	}{
		"no event":             {arcaapi.ProveAuditEventInput{EventId: "none"}, "NotFoundException: There is no event none in the audit log."},
		"no checkpoint":        {arcaapi.ProveAuditEventInput{EventId: id, Checkpoint: new("none")}, "InvalidParameterException: The Checkpoint is not one of this server: "},
		"an earlier one":       {arcaapi.ProveAuditEventInput{EventId: later, Checkpoint: &kept}, "InvalidParameterException: The checkpoint covers the first "},
		"with another's claim": {arcaapi.ProveAuditEventInput{EventId: id, Checkpoint: new(strings.Replace(kept, "/1\n", "/2\n", 1))}, "InvalidParameterException: The Checkpoint is not one of this server: "},
	} {
		if got := b.refused(t, arcaapi.OpProveAuditEvent, &test.in, root); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}

	// What was changed is proven no more.
	segments, err := filepath.Glob(filepath.Join(b.logDir(), "*.jsonl"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	raw, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(segments[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(raw), `"other"`)
	if _, err := f.WriteAt([]byte(`"OTHER"`), int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got := b.refused(t, arcaapi.OpProveAuditEvent, &arcaapi.ProveAuditEventInput{EventId: id}, root)
	if !strings.HasPrefix(got, "InvalidRequestException: The event cannot be proven, because the files of the log are not those of the checkpoint.") {
		t.Error(got)
	}
}

// newest is the id of the newest event of a name.
func (b *bed) newest(t *testing.T, name string) string {
	t.Helper()
	out := b.search(t, arcaapi.SearchAuditLogInput{EventName: &name, MaxResults: new(int32(1))})
	if len(out.Events) != 1 {
		t.Fatalf("there is no event %s", name)
	}
	_, rest, _ := strings.Cut(*out.Events[0].Record, `"eventID":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// prove waits until a checkpoint covers the event.
func (b *bed) prove(t *testing.T, id string) *arcaapi.ProveAuditEventOutput {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := b.call(arcaapi.OpProveAuditEvent, &arcaapi.ProveAuditEventInput{EventId: id}, root)
		if err == nil {
			return out.(*arcaapi.ProveAuditEventOutput)
		}
		if !strings.Contains(err.Error(), "NotCoveredException: The event is newer than the newest checkpoint.") || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A checkpoint of another log is refused before anything is read for it, although a key of
// this server has signed it.
func TestProveAuditEventForAnotherLog(t *testing.T) {
	b := newBed(t, false)
	b.account(t, "other")
	id := b.newest(t, "CreateAccount")
	b.prove(t, id)
	key, _, err := b.heads.Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := merkle.Checkpoint{Origin: merkle.Origin(key.Name(), 7), Size: 1000, Time: time.Now()}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	got := b.refused(t, arcaapi.OpProveAuditEvent, &arcaapi.ProveAuditEventInput{EventId: id, Checkpoint: new(string(c.Text))}, root)
	if want := "InvalidParameterException: The Checkpoint is of the log " + c.Origin + ", and the event is in " + b.log.Origin() + "."; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
