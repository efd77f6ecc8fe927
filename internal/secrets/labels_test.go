package secrets_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/secrets"
)

// ver makes a version with a value and labels.
func ver(id string, stages ...string) secrets.Version {
	return secrets.Version{ID: id, Stages: stages, Kind: secrets.StringValue}
}

// pending makes a version as a rotation announces it.
func pending(id string, stages ...string) secrets.Version {
	return secrets.Version{ID: id, Stages: stages}
}

func secretOf(versions ...secrets.Version) *secrets.Secret {
	return &secrets.Secret{Name: "s", Versions: versions}
}

// stagesOf shows the labels of each version, sorted.
func stagesOf(sec *secrets.Secret) map[string][]string {
	m := make(map[string][]string)
	for _, v := range sec.Versions {
		m[v.ID] = slices.Sorted(slices.Values(v.Stages))
	}
	return m
}

// put adds a version with a value, or fills the one that is there.
func put(sec *secrets.Secret, id string, stages ...string) *secrets.Secret {
	sec = sec.Clone()
	at := slices.IndexFunc(sec.Versions, func(v secrets.Version) bool { return v.ID == id })
	if at < 0 {
		sec.Versions = append(sec.Versions, secrets.Version{ID: id})
		at = len(sec.Versions) - 1
	}
	sec.Versions[at].Kind = secrets.StringValue
	secrets.LabelNew(sec, id, stages)
	return sec
}

func TestLabelsOfNewVersion(t *testing.T) {
	type stages = map[string][]string
	for _, tc := range []struct {
		name string
		sec  *secrets.Secret
		with []string
		want stages
	}{
		{"first", secretOf(), nil, stages{"new": {"AWSCURRENT"}}},
		{"first with own label", secretOf(), []string{"MINE"}, stages{"new": {"AWSCURRENT", "MINE"}}},
		{"second", secretOf(ver("a", "AWSCURRENT")), nil,
			stages{"a": {"AWSPREVIOUS"}, "new": {"AWSCURRENT"}}},
		{"third", secretOf(ver("a", "AWSPREVIOUS"), ver("b", "AWSCURRENT")), nil,
			stages{"a": nil, "b": {"AWSPREVIOUS"}, "new": {"AWSCURRENT"}}},
		{"pending leaves the old current", secretOf(ver("a", "AWSCURRENT", "AWSPENDING")), nil,
			stages{"a": {"AWSPREVIOUS"}, "new": {"AWSCURRENT"}}},
		{"pending leaves a rotation under way", secretOf(ver("a", "AWSCURRENT"), pending("p", "AWSPENDING")), nil,
			stages{"a": {"AWSPREVIOUS"}, "p": nil, "new": {"AWSCURRENT"}}},
		{"own labels follow neither current nor previous", secretOf(ver("a", "AWSPREVIOUS", "ONE"), ver("b", "AWSCURRENT", "TWO")), nil,
			stages{"a": {"ONE"}, "b": {"AWSPREVIOUS", "TWO"}, "new": {"AWSCURRENT"}}},
		{"own label only", secretOf(ver("a", "AWSPREVIOUS"), ver("b", "AWSCURRENT")), []string{"MINE"},
			stages{"a": {"AWSPREVIOUS"}, "b": {"AWSCURRENT"}, "new": {"MINE"}}},
		{"current and own label", secretOf(ver("a", "AWSCURRENT", "MINE")), []string{"MINE", "AWSCURRENT"},
			stages{"a": {"AWSPREVIOUS"}, "new": {"AWSCURRENT", "MINE"}}},
		{"some labels taken", secretOf(ver("a", "AWSCURRENT"), ver("b", "one", "two", "three")), []string{"one", "two", "four"},
			stages{"a": {"AWSCURRENT"}, "b": {"three"}, "new": {"four", "one", "two"}}},
		{"all labels taken", secretOf(ver("a", "AWSCURRENT"), ver("b", "one", "two")), []string{"one", "two"},
			stages{"a": {"AWSCURRENT"}, "b": nil, "new": {"one", "two"}}},
		{"label named twice", secretOf(ver("a", "AWSCURRENT")), []string{"x", "x"},
			stages{"a": {"AWSCURRENT"}, "new": {"x"}}},
		{"reserved prefix", secretOf(ver("a", "AWSCURRENT")), []string{"AWSSOMETHING"},
			stages{"a": {"AWSCURRENT"}, "new": {"AWSSOMETHING"}}},
		{"filled by a rotation", secretOf(ver("a", "AWSCURRENT"), pending("new", "AWSPENDING")), []string{"AWSPENDING"},
			stages{"a": {"AWSCURRENT"}, "new": {"AWSPENDING"}}},
		{"filled without a label", secretOf(ver("a", "AWSCURRENT"), pending("new", "AWSPENDING")), nil,
			stages{"a": {"AWSPREVIOUS"}, "new": {"AWSCURRENT", "AWSPENDING"}}},
		{"pending named with current", secretOf(ver("a", "AWSCURRENT"), pending("p", "AWSPENDING")), []string{"AWSCURRENT", "AWSPENDING"},
			stages{"a": {"AWSPREVIOUS"}, "p": nil, "new": {"AWSCURRENT", "AWSPENDING"}}},
		{"previous taken from the old current", secretOf(ver("a", "AWSCURRENT")), []string{"AWSCURRENT", "AWSPREVIOUS"},
			stages{"a": nil, "new": {"AWSCURRENT", "AWSPREVIOUS"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := put(tc.sec, "new", tc.with...)
			if diff := cmp.Diff(tc.want, stagesOf(got)); diff != "" {
				t.Errorf("labels after a new version with %v (-want +got):\n%s", tc.with, diff)
			}
		})
	}
}

// Recorded on AWS: a label of one's own stays on its version over two promotions.
func TestOwnLabelOverTwoPromotions(t *testing.T) {
	sec := put(put(secretOf(), "v1"), "v2", "AWSCURRENT", "PUT0")
	for i, want := range [][]string{{"AWSPREVIOUS", "PUT0"}, {"PUT0"}} {
		sec = put(sec, fmt.Sprintf("v%d", 3+i))
		if diff := cmp.Diff(want, stagesOf(sec)["v2"]); diff != "" {
			t.Errorf("labels of v2 after promotion %d (-want +got):\n%s", i+1, diff)
		}
	}
}

func TestMoveLabel(t *testing.T) {
	type stages = map[string][]string
	id := func(s string) *string { return &s }
	both := func() *secrets.Secret {
		return secretOf(ver("a", "AWSPREVIOUS"), ver("b", "AWSCURRENT"), ver("c", "MINE", "AWSPENDING"))
	}
	for _, tc := range []struct {
		name     string
		sec      *secrets.Secret
		stage    string
		from, to *string
		want     stages // nil when refused
		code     string
		message  string
	}{
		{"promote", both(), "AWSCURRENT", id("b"), id("c"),
			stages{"a": nil, "b": {"AWSPREVIOUS"}, "c": {"AWSCURRENT", "AWSPENDING", "MINE"}}, "", ""},
		{"promote the previous", both(), "AWSCURRENT", id("b"), id("a"),
			stages{"a": {"AWSCURRENT"}, "b": {"AWSPREVIOUS"}, "c": {"AWSPENDING", "MINE"}}, "", ""},
		{"promote the current", both(), "AWSCURRENT", nil, id("b"),
			stages{"a": {"AWSPREVIOUS"}, "b": {"AWSCURRENT"}, "c": {"AWSPENDING", "MINE"}}, "", ""},
		{"promote the current from itself", both(), "AWSCURRENT", id("b"), id("b"),
			stages{"a": {"AWSPREVIOUS"}, "b": {"AWSCURRENT"}, "c": {"AWSPENDING", "MINE"}}, "", ""},
		{"other label moves alone", both(), "MINE", id("c"), id("b"),
			stages{"a": {"AWSPREVIOUS"}, "b": {"AWSCURRENT", "MINE"}, "c": {"AWSPENDING"}}, "", ""},
		{"new label", both(), "NEW", nil, id("a"),
			stages{"a": {"AWSPREVIOUS", "NEW"}, "b": {"AWSCURRENT"}, "c": {"AWSPENDING", "MINE"}}, "", ""},
		{"detach", both(), "AWSPENDING", id("c"), nil,
			stages{"a": {"AWSPREVIOUS"}, "b": {"AWSCURRENT"}, "c": {"MINE"}}, "", ""},
		{"detach previous", both(), "AWSPREVIOUS", id("a"), nil,
			stages{"a": nil, "b": {"AWSCURRENT"}, "c": {"AWSPENDING", "MINE"}}, "", ""},
		{"promote without source", both(), "AWSCURRENT", nil, id("c"), nil, "InvalidParameterException",
			"The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version b, so you must explicitly reference that version in RemoveFromVersionId."},
		// The wording for other labels is ours, after the one for AWSCURRENT.
		{"move without source", both(), "MINE", nil, id("a"), nil, "InvalidParameterException",
			"The parameter RemoveFromVersionId can't be empty. Staging label MINE is currently attached to version c, so you must explicitly reference that version in RemoveFromVersionId."},
		{"remove current", both(), "AWSCURRENT", id("b"), nil, nil, "InvalidParameterException",
			"You can only move staging label AWSCURRENT to a different secret version. It can’t be completely removed."},
		{"label elsewhere", both(), "AWSCURRENT", id("a"), id("c"), nil, "InvalidParameterException",
			"Version stage AWSCURRENT not found in version a"},
		{"label nowhere", both(), "NONE", id("a"), nil, nil, "InvalidParameterException",
			"Version stage NONE not found in version a"},
		{"unknown source", both(), "MINE", id("x"), id("a"), nil, "InvalidParameterException", "Not a valid version: x"},
		{"unknown target", both(), "MINE", id("c"), id("x"), nil, "InvalidParameterException", "Not a valid version: x"},
		// Unknown of AWS; the text is ours.
		{"neither", both(), "MINE", nil, nil, nil, "InvalidParameterException",
			"You must provide RemoveFromVersionId, MoveToVersionId, or both."},
		{"promote an empty version", secretOf(ver("a", "AWSCURRENT"), pending("p", "AWSPENDING")), "AWSCURRENT", id("a"), id("p"), nil,
			"InvalidRequestException", "You can't move staging label AWSCURRENT to version p because it has no secret value."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := stagesOf(tc.sec)
			sec := tc.sec.Clone()
			moved, err := secrets.MoveLabel(sec, tc.stage, tc.from, tc.to)
			if tc.code != "" {
				aerr, ok := errors.AsType[*api.Error](err)
				if !ok || aerr.Code.Name != tc.code || aerr.Message != tc.message {
					t.Errorf("error = %v, want %s: %s", err, tc.code, tc.message)
				}
				tc.want = before
			} else if err != nil {
				t.Fatalf("error = %v, want none", err)
			}
			if diff := cmp.Diff(tc.want, stagesOf(sec)); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if changed := !cmp.Equal(before, stagesOf(sec)); changed != moved {
				t.Errorf("moved = %v, want %v", moved, changed)
			}
			if diff := cmp.Diff(before, stagesOf(tc.sec)); diff != "" {
				t.Errorf("the record the clone was made of changed (-before +after):\n%s", diff)
			}
		})
	}
}

// model keeps labels the other way round: a label on two versions cannot be said.
type model map[string]string

func (m model) promote(id string) {
	if m["AWSCURRENT"] == id {
		return
	}
	delete(m, "AWSPREVIOUS")
	if old, ok := m["AWSCURRENT"]; ok {
		m["AWSPREVIOUS"] = old
	}
	m["AWSCURRENT"] = id
}

func (m model) put(id string, stages []string) {
	if _, ok := m["AWSCURRENT"]; !ok || len(stages) == 0 || slices.Contains(stages, "AWSCURRENT") {
		m.promote(id)
		if m["AWSPENDING"] != id {
			delete(m, "AWSPENDING")
		}
	}
	for _, s := range stages {
		m[s] = id
	}
}

func (m model) stages(sec *secrets.Secret) map[string][]string {
	out := make(map[string][]string)
	for _, v := range sec.Versions {
		out[v.ID] = nil
	}
	for _, label := range slices.Sorted(maps.Keys(m)) {
		out[m[label]] = append(out[m[label]], label)
	}
	return out
}

// Whatever is done to the labels, they are where the model has them, no label is
// twice, AWSCURRENT stays once it was given, and no earlier state changes: snapshots
// share their memory with it.
func TestLabelsAgreeWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sec, m := secretOf(), model{}
		label := rapid.SampledFrom([]string{"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "A", "B", "C"})
		type past struct {
			sec    *secrets.Secret
			stages map[string][]string
		}
		var history []past
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			history = append(history, past{sec, stagesOf(sec)})
			if len(sec.Versions) == 0 || rapid.Bool().Draw(t, "new version") {
				id := fmt.Sprintf("v%d", len(sec.Versions))
				stages := rapid.SliceOfN(label, 0, 4).Draw(t, "stages")
				sec = put(sec, id, stages...)
				m.put(id, stages)
			} else {
				pick := func(what string) *string {
					n := rapid.IntRange(-1, len(sec.Versions)-1).Draw(t, what)
					if n < 0 {
						return nil
					}
					return &sec.Versions[n].ID
				}
				stage, from, to := label.Draw(t, "stage"), pick("from"), pick("to")
				next := sec.Clone()
				if _, err := secrets.MoveLabel(next, stage, from, to); err == nil {
					sec = next
					switch {
					case to == nil:
						delete(m, stage)
					case stage == "AWSCURRENT":
						m.promote(*to)
					default:
						m[stage] = *to
					}
				}
			}
			if diff := cmp.Diff(m.stages(sec), stagesOf(sec)); diff != "" {
				t.Fatalf("labels differ from the model (-model +got):\n%s", diff)
			}
			if problems := secrets.CheckSecret(sec); len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
		}
		for i, p := range history {
			if diff := cmp.Diff(p.stages, stagesOf(p.sec)); diff != "" {
				t.Fatalf("state %d changed afterwards (-then +now):\n%s", i, diff)
			}
		}
	})
}
