package compliance_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/compliance"
	"arca/internal/secrets"
)

func toldExample() []byte {
	b := []byte(compliance.ToldMagic)
	b = compliance.AppendTold(b, secrets.UID{1}, no, neither, yes, yes, no)
	b = compliance.AppendTold(b, secrets.UID{2}, yes, yes, yes, yes, yes)
	b = compliance.AppendTold(b, secrets.UID{}, yes) // a whole pass
	b = compliance.AppendTold(b, secrets.UID{1}, yes, no, yes, yes, no)
	return compliance.AppendTold(b, secrets.UID{2})
}

func TestReadTold(t *testing.T) {
	last := map[secrets.UID][]compliance.State{{1}: {yes, no, yes, yes, no}}
	whole := toldExample()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-30] ^= 1 // within the last but one record
	before := map[secrets.UID][]compliance.State{{1}: {no, neither, yes, yes, no}, {2}: {yes, yes, yes, yes, yes}}
	for _, tc := range []struct {
		name  string
		in    []byte
		want  map[secrets.UID][]compliance.State
		whole bool
		fails bool
	}{
		{"all", whole, last, true, false},
		{"torn in the last record", whole[:len(whole)-1], map[secrets.UID][]compliance.State{{1}: {yes, no, yes, yes, no}, {2}: {yes, yes, yes, yes, yes}}, true, false},
		{"damaged", flipped, before, true, false},
		{"no pass", whole[:len(compliance.ToldMagic)+2*24], before, false, false},
		{"nothing", []byte(compliance.ToldMagic), map[secrets.UID][]compliance.State{}, false, false},
		{"empty", nil, map[secrets.UID][]compliance.State{}, false, true},
		{"another file", []byte("something else that is long enough"), map[secrets.UID][]compliance.State{}, false, true},
		{"states that are none", compliance.AppendTold([]byte(compliance.ToldMagic), secrets.UID{1}, 7, 7, 7, 7, 7), map[secrets.UID][]compliance.State{}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, pass, err := compliance.ReadTold(bytes.NewReader(tc.in))
			if pass != tc.whole || (err != nil) != tc.fails {
				t.Errorf("whole %v, error %v, want %v, %v", pass, err, tc.whole, tc.fails)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzReadTold(f *testing.F) {
	f.Add(toldExample())
	f.Add([]byte(compliance.ToldMagic))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		told, _, err := compliance.ReadTold(bytes.NewReader(in))
		if err != nil && len(told) > 0 {
			t.Errorf("%d secrets in a file that cannot be read: %v", len(told), err)
		}
		if len(told) > len(in)/24 {
			t.Errorf("%d secrets from %d bytes", len(told), len(in))
		}
		for uid, all := range told {
			for _, st := range all {
				if st < yes || st > neither {
					t.Errorf("secret %v has the state %d", uid, st)
				}
			}
		}
	})
}
