package compliance_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arca/internal/compliance"
)

// TestModel: whatever happens to secrets, in whatever order with steps that look at few of
// them, with restarts in between, in the end the service has counted what a fresh look
// finds, and the changes that it told lead from one to the other.
func TestModel(t *testing.T) {
	b := newBed(t)
	b.svc.Narrow(2)
	last := make(map[string]compliance.State) // by secret and rule, as told
	b.cfg.Changed = func(_ context.Context, c compliance.Change) error {
		at := c.SecretARN + " " + string(c.Rule)
		if was, ok := last[at]; ok && was != c.Old {
			t.Errorf("told that %s goes from %v to %v after it was %v", at, c.Old, c.New, was)
		}
		last[at] = c.New
		return nil
	}
	b.restart(t)
	b.svc.Narrow(2)
	n := 0
	var names []string
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 12).Draw(rt, "actions") {
			act := rapid.IntRange(0, 6).Draw(rt, "act")
			name := ""
			if len(names) > 0 {
				name = names[rapid.IntRange(0, len(names)-1).Draw(rt, "secret")]
			}
			switch {
			case act == 0 || name == "":
				n++
				name = fmt.Sprintf("s%d", n)
				b.create(t, name)
				names = append(names, name)
			case act == 1:
				b.read(t, name)
			case act == 2 && len(names) > 3:
				b.delete(t, names[0], true)
				names = names[1:]
			case act == 3:
				b.now = b.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "days")) * day)
			case act == 4:
				b.restart(t)
				b.svc.Narrow(2)
			default:
				if err := b.svc.Step(t.Context(), b.now); err != nil {
					rt.Fatal(err)
				}
			}
		}
		for range 3*len(names) + 3 {
			if err := b.svc.Step(t.Context(), b.now); err != nil {
				rt.Fatal(err)
			}
		}
		if b.svc.Behind() {
			rt.Fatal("the walk has not come to its end")
		}
		want := make(map[string]int)
		page, err := b.results(t, compliance.Query{Max: 1000})
		if err != nil {
			rt.Fatal(err)
		}
		for _, r := range page.Results {
			want[fmt.Sprint(r.Rule, r.State)]++
			if told, ok := last[r.SecretARN+" "+string(r.Rule)]; ok && told != r.State {
				rt.Errorf("told last that %s is %v under %s, and it is %v", r.SecretName, told, r.Rule, r.State)
			}
		}
		counts, whole := b.svc.Counts("")
		if !whole {
			rt.Error("not every secret was looked at")
		}
		for _, r := range compliance.Rules() {
			for _, st := range []compliance.State{yes, no, neither} {
				if got := counts.Of(r, st); got != want[fmt.Sprint(r, st)] {
					rt.Errorf("%d secrets are %v under %s, want %d", got, st, r, want[fmt.Sprint(r, st)])
				}
			}
		}
	})
}
