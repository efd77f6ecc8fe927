package trail_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/trail"
)

// TestDamagedSegment: a compressed segment that cannot be read any more hides itself
// alone, and the answer says so.
func TestDamagedSegment(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	fill(b)
	for more := true; more; {
		var err error
		more, err = b.log.Maintain(t.Context(), audit.RetainConfig{Compress: true}, time.Now())
		must(t, err)
	}
	segs := b.segments()
	bad := segs[len(segs)-3]
	if !bad.Compressed || len(segs) < 6 {
		t.Fatalf("%d segments, the last but two compressed: %t", len(segs), bad.Compressed)
	}
	want := where(b.n, func(i int) bool { return uint64(i) < bad.First || uint64(i) >= segs[len(segs)-2].First })
	for name, damage := range map[string]func(t *testing.T){
		"frames":     func(t *testing.T) { flip(t, bad.Path, 100) },
		"seek table": func(t *testing.T) { must(t, os.Truncate(bad.Path, 50)) },
	} {
		b.close()
		whole, err := os.ReadFile(bad.Path)
		must(t, err)
		for _, indexed := range []bool{true, false} {
			if !indexed {
				must(t, os.RemoveAll(filepath.Join(b.dir, "index")))
			}
			damage(t)
			b.open()
			for range 2 {
				if diff := cmp.Diff(want, all(t, b.trail, trail.Filter{}, false, 1000)); diff != "" {
					t.Errorf("%s, indexed %t (-want +got):\n%s", name, indexed, diff)
				}
			}
			oldest := slices.Clone(want)
			slices.Reverse(oldest)
			if diff := cmp.Diff(oldest, all(t, b.trail, trail.Filter{}, true, 7)); diff != "" {
				t.Errorf("%s, indexed %t, oldest first (-want +got):\n%s", name, indexed, diff)
			}
			page, err := b.trail.Search(t.Context(), trail.Filter{}, "", 1000)
			must(t, err)
			if !page.Damaged {
				t.Errorf("%s, indexed %t: the page does not say so", name, indexed)
			}
			if _, err := b.trail.Find(t.Context(), event(int(bad.First)).EventID); !errors.Is(err, trail.ErrNotFound) {
				t.Errorf("%s, indexed %t: Find = %v, want ErrNotFound", name, indexed, err)
			}
			report, err := b.trail.Export(t.Context(), trail.ExportConfig{Dir: t.TempDir()})
			if err != nil || !report.Damaged || report.Events != uint64(len(want)) {
				t.Errorf("%s, indexed %t: export = %+v, %v, want %d events and that it is damaged", name, indexed, report, err, len(want))
			}
			b.close()
			must(t, os.WriteFile(bad.Path, whole, 0o600))
		}
		b.open()
		if page, err := b.trail.Search(t.Context(), trail.Filter{}, "", 1000); err != nil || page.Damaged || len(page.Events) != b.n {
			t.Errorf("%s, mended: %d events, damaged %t, %v", name, len(page.Events), page.Damaged, err)
		}
	}

	// The indexes of older segments are made all the same.
	b.close()
	must(t, os.RemoveAll(filepath.Join(b.dir, "index")))
	flip(t, bad.Path, 100)
	b.open()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.trail.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); len(indexFiles(t, b.dir)) < len(segs)-2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d indexes of %d segments", len(indexFiles(t, b.dir)), len(segs))
			break
		}
	}
	stop()
	<-done
}

// TestBreak: positions of before a break lead through what is left of the former log and
// then, forward, into the new one.
func TestBreak(t *testing.T) {
	root := t.TempDir()
	b := newBed(t, filepath.Join(root, "n1"))
	open := func() {
		b.open()
		must(t, b.trail.Close())
		dirs, err := trail.Dirs(root)
		must(t, err)
		b.trail, err = trail.Open(trail.Config{Dirs: dirs, Log: b.log, LogDir: b.dir})
		must(t, err)
	}
	b.append(30, nil)
	forward, err := b.trail.SearchForward(t.Context(), trail.Filter{}, "", 20)
	must(t, err)
	back, err := b.trail.Search(t.Context(), trail.Filter{}, "", 5)
	must(t, err)
	ids := func(search func(context.Context, trail.Filter, trail.Position, int) (trail.Page, error), at trail.Position) (ids []string) {
		for {
			page, err := search(t.Context(), trail.Filter{}, at, 4)
			must(t, err)
			for _, e := range page.Events {
				ids = append(ids, e.ID)
			}
			if at = page.Next; !page.More {
				return ids
			}
		}
	}
	want := func(from, to, step int) (ids []string) {
		for n := from; n != to; n += step {
			ids = append(ids, event(n).EventID)
		}
		return ids
	}
	for _, lost := range []string{"lost-20260102T030405Z", "lost-20260203T030405Z"} {
		b.close()
		entries, err := os.ReadDir(b.dir)
		must(t, err)
		must(t, os.Mkdir(filepath.Join(b.dir, lost), 0o700))
		for _, e := range entries {
			if filepath.Ext(e.Name()) != "" || e.Name() == "index" { // what is not of former logs
				must(t, os.Rename(filepath.Join(b.dir, e.Name()), filepath.Join(b.dir, lost, e.Name())))
			}
		}
		must(t, os.RemoveAll(filepath.Join(b.dir, "tile")))
		must(t, os.RemoveAll(filepath.Join(b.dir, "checkpoint")))
		open()
		b.append(25, nil) // more lines than the position counted in the former log
		if diff := cmp.Diff(want(20, b.n, 1), ids(b.trail.SearchForward, forward.Next)); diff != "" {
			t.Errorf("%s: forward (-want +got):\n%s", lost, diff)
		}
		if diff := cmp.Diff(want(24, -1, -1), ids(b.trail.Search, back.Next)); diff != "" {
			t.Errorf("%s: newest first (-want +got):\n%s", lost, diff)
		}
	}
}

// TestLogIsGone: a follower of a log of which nothing is left sees the new one.
func TestLogIsGone(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	b.append(30, nil)
	at := b.trail.End()
	b.close()
	must(t, os.RemoveAll(b.dir))
	b.open()
	b.append(3, nil)
	page, err := b.trail.SearchForward(t.Context(), trail.Filter{}, at, 10)
	if err != nil || len(page.Events) != 3 {
		t.Errorf("%d events, %v, want three", len(page.Events), err)
	}
}

// TestLostFound: a file system's own directory is none of a node.
func TestLostFound(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"n1", "lost+found"} {
		b := newBed(t, filepath.Join(root, name))
		b.append(1, nil)
		b.close()
	}
	dirs, err := trail.Dirs(root)
	if diff := cmp.Diff([]string{filepath.Join(root, "n1")}, dirs); err != nil || diff != "" {
		t.Errorf("Dirs: %v (-want +got):\n%s", err, diff)
	}
}

// TestRotationUnderSearch: what a search forward has not seen of a segment is not passed
// over when the next one is begun meanwhile.
func TestRotationUnderSearch(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	b.append(3, nil)
	got, next, err := trail.LateSegments(t.Context(), b.trail, func() { b.append(60, nil) })
	must(t, err)
	if len(b.segments()) < 3 {
		t.Fatalf("%d segments, want several", len(b.segments()))
	}
	for i, n := range got {
		if n != uint64(i) {
			t.Fatalf("line %d in the place of %d", n, i)
		}
	}
	if next != uint64(len(got)) {
		t.Errorf("the search goes on at %d after %d lines", next, len(got))
	}
}

// TestCost: a line that is alone in its block costs as much as the block.
func TestCost(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	fill(b)
	for name, c := range map[string]struct {
		filter      trail.Filter
		least, most int
	}{
		"one event":  {trail.Filter{EventID: event(123).EventID}, 65, 65},
		"everything": {trail.Filter{}, 300 + 64*len(b.segments()), 300 + 2*64*len(b.segments())},
		"nothing":    {trail.Filter{UserName: "carol"}, 0, 0},
	} {
		if spent, err := trail.Spend(t.Context(), b.trail, c.filter); err != nil || spent < c.least || spent > c.most {
			t.Errorf("%s costs %d, %v, want %d to %d", name, spent, err, c.least, c.most)
		}
	}
}

// TestResources: what was asked for is found by its resource, also when it was refused
// and the record has no list of resources.
func TestResources(t *testing.T) {
	const (
		full    = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app/db-AbCdEf"
		partial = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app/db"
		again   = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app/db-GhIjKl"
		role    = "arn:aws:iam::111122223333:role/team/deploy"
		lambda  = "arn:aws:lambda:eu-central-1:111122223333:function:rotate"
	)
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	for _, one := range []struct{ source, name, parameters string }{
		{"secretsmanager", "GetSecretValue", `{"secretId":"` + full + `"}`},
		{"secretsmanager", "GetSecretValue", `{"secretId":"` + partial + `"}`},
		{"secretsmanager", "GetSecretValue", `{"secretId":"` + again + `"}`},
		{"sts", "AssumeRole", `{"roleArn":"` + role + `","roleSessionName":"x"}`},
		{"lambda", "Invoke", `{"functionName":"rotate"}`},
		{"lambda", "Invoke", `{"functionName":"` + lambda + `:7"}`},
		{"lambda", "Invoke", `{"functionName":"111122223333:function:rotate"}`},
		{"lambda", "Invoke", `{"functionName":"rotate:live"}`},
		{"lambda", "Invoke", `{"functionName":"rotated"}`},
	} {
		b.append(1, func(_ int, r *audit.Record) {
			r.EventSource, r.EventName, r.ErrorCode = one.source+".amazonaws.com", one.name, "AccessDenied"
			r.RequestParameters = []byte(one.parameters)
		})
	}
	for _, c := range []struct {
		filter trail.Filter
		want   []uint64
	}{
		{trail.Filter{Resource: full}, []uint64{0, 1}},
		{trail.Filter{Resource: partial}, []uint64{0, 1, 2}},
		{trail.Filter{Resource: "app/db"}, []uint64{0, 1, 2}},
		{trail.Filter{Resource: role}, []uint64{3}},
		{trail.Filter{Resource: "deploy"}, []uint64{3}},
		{trail.Filter{ResourceType: "AWS::IAM::Role"}, []uint64{3}},
		{trail.Filter{ResourceName: role}, []uint64{3}},
		{trail.Filter{Resource: "rotate"}, []uint64{4, 5, 6, 7}},
		{trail.Filter{Resource: lambda}, []uint64{4, 6, 7}},
		{trail.Filter{ResourceType: "AWS::Lambda::Function"}, []uint64{4, 5, 6, 7, 8}},
	} {
		if diff := cmp.Diff(c.want, all(t, b.trail, c.filter, true, 50)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
}
