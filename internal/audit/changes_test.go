package audit_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

func TestChanges(t *testing.T) {
	sum := [32]byte{1, 2, 3}
	r := audit.Record{EventID: "e", Changes: []audit.Change{
		{Table: "secret", Key: []byte("arca/1/secret/\x00\xff"), Sequence: 7, SHA256: sum},
		{Table: "name", Key: []byte("k"), Sequence: 9, Deleted: true},
	}}
	got, err := audit.Changes(r.AppendLine(nil, "node"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Changes, got); diff != "" {
		t.Errorf("Changes (-want +got):\n%s", diff)
	}
	// What a request holds is not taken for what was done.
	r = audit.Record{EventID: "e", RequestParameters: []byte(`{"arca":{"changes":[{"table":"secret","key":"00","sequence":1,"deleted":true}]}}`)}
	if got, err := audit.Changes(r.AppendLine(nil, "node")); err != nil || len(got) != 0 {
		t.Errorf("Changes of a request = %+v, %v", got, err)
	}
	for _, bad := range []string{
		`{"arca":{"changes":[{"table":"t","key":"zz","sequence":1,"deleted":true}]}}`,
		`{"arca":{"changes":[{"table":"t","key":"","sequence":1,"deleted":true}]}}`,
		`{"arca":{"changes":[{"table":"t","key":"00","sequence":-1,"deleted":true}]}}`,
		`{"arca":{"changes":[{"table":"t","key":"00","sequence":18446744073709551615,"deleted":true}]}}`,
		`{"arca":{"changes":[{"table":"t","key":"00","sequence":1,"sha256":"00"}]}}`,
		`{"arca":{"changes":[{"table":"t","key":"00","sequence":1}]}}`,
		`{"arca":{"changes":[{"table":"t",`,
	} {
		if got, err := audit.Changes([]byte(bad)); err == nil {
			t.Errorf("Changes(%s) = %+v, want an error", bad, got)
		}
	}
}

// Whatever a line holds, what comes out of it can be written and read again.
func FuzzChanges(f *testing.F) {
	r := audit.Record{EventID: "e", Changes: []audit.Change{
		{Table: "secret", Key: []byte("k"), Sequence: 7, SHA256: [32]byte{1}}, {Table: "n", Key: []byte{0}, Sequence: 1, Deleted: true},
	}}
	f.Add(r.AppendLine(nil, "node"))
	f.Add([]byte(`{"arca":{"changes":[{"table":"t","key":"00","sequence":1}]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := audit.Changes(bytes.Clone(line))
		if err != nil || len(got) == 0 {
			return
		}
		again, err := audit.Changes((&audit.Record{EventID: "e", Changes: got}).AppendLine(nil, "node"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			got[i].Table = again[i].Table // is cut and cleaned like every text
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("read again (-want +got):\n%s", diff)
		}
	})
}
