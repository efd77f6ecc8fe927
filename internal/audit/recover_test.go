package audit_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

const firstSegment = "00000000000000000000.jsonl"

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever part of the last line a crash left, the lines before it stay, and the log
// goes on with the right number.
func TestTornTailAtEveryOffset(t *testing.T) {
	short := func(id string) []byte {
		r := audit.Record{EventID: id, EventName: "GetSecretValue", EventTime: record(id).EventTime}
		return append(r.AppendLine(nil, "n1"), '\n')
	}
	whole := append(append(short("a"), short("b")...), short("c")...)
	begin := len(short("a")) + len(short("b"))
	for end := begin; end <= len(whole); end++ {
		dir := t.TempDir()
		put(t, filepath.Join(dir, firstSegment), whole[:end])
		func() {
			l, log := open(t, audit.Config{Dir: dir})
			defer func() { _ = l.Close() }() // Cleanup looks at the error
			ids := []string{"a", "b"}
			if end == len(whole) {
				ids = append(ids, "c")
			}
			if got := l.Size(); got != uint64(len(ids)) {
				t.Errorf("end %d: Size() = %d, want %d", end, got, len(ids))
			}
			wants(t, dir, ids...)
			cut := end != begin && end != len(whole)
			if got := strings.Contains(log.String(), "unfinished write"); got != cut {
				t.Errorf("end %d: logged %q", end, log)
			}
		}()
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("end %d: files %q", end, got)
		}
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, firstSegment), whole[:begin+10])
	l, _ := start(t, audit.Config{Dir: dir})
	mustAppend(t, l, "d")
	wants(t, dir, "a", "b", "d")
}

func TestOpenRecovers(t *testing.T) {
	lines := func(ids ...string) (out []byte) {
		for _, id := range ids {
			out = append(append(out, line(id)...), '\n')
		}
		return out
	}
	zeros := make([]byte, 4096)
	damaged := append(append(lines("a", "b"), zeros...), append([]byte("\n"), lines("c")...)...)
	tests := []struct {
		name  string
		files map[string][]byte
		size  uint64
		ids   []string
		names []string
	}{
		{"nothing", nil, 0, []string{}, []string{firstSegment}},
		{"empty segment", map[string][]byte{firstSegment: nil}, 0, []string{}, []string{firstSegment}},
		{"no line is whole", map[string][]byte{firstSegment: line("a")}, 0, []string{}, []string{firstSegment}},
		{"crash after creating a segment", map[string][]byte{firstSegment: lines("a", "b"), "00000000000000000002.jsonl": nil}, 2,
			[]string{"a", "b"}, []string{firstSegment, "00000000000000000002.jsonl"}},
		{"block of zeros at the end", map[string][]byte{firstSegment: append(lines("a", "b"), zeros...)}, 2, []string{"a", "b"}, []string{firstSegment}},
		{"block of zeros before a whole line", map[string][]byte{firstSegment: damaged}, 2,
			[]string{"a", "b"}, []string{firstSegment, fmt.Sprintf("%s.cut-%d", firstSegment, len(lines("a", "b")))}},
		{"files of others", map[string][]byte{firstSegment: lines("a"), "00000000000000000009.jsonl.bak": lines("x"), "+0000000000000000009.jsonl": lines("y"),
			"notes.jsonl": lines("z")}, 1, []string{"a"},
			[]string{"+0000000000000000009.jsonl", firstSegment, "00000000000000000009.jsonl.bak", "notes.jsonl"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range tt.files {
				put(t, filepath.Join(dir, name), data)
			}
			l, _ := start(t, audit.Config{Dir: dir})
			if got := l.Size(); got != tt.size {
				t.Errorf("Size() = %d, want %d", got, tt.size)
			}
			wants(t, dir, tt.ids...)
			if diff := cmp.Diff(tt.names, names(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			mustAppend(t, l, "next")
			wants(t, dir, append(tt.ids, "next")...)
		})
	}
}

// Damage that is too far from the end to come from a crash is not cut, which would
// take everything after it along; it keeps its number, and Check names it.
func TestOldDamageStays(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	b.WriteString("{\"broken\":\n")
	b.Write(append(bytes.Repeat([]byte("x"), audit.MaxLineBytes+10), '\n'))
	n := uint64(2)
	for b.Len() < audit.MaxBatchBytes+3*audit.MaxLineBytes {
		b.Write(append(line(fmt.Sprint(n)), '\n'))
		n++
	}
	put(t, filepath.Join(dir, firstSegment), b.Bytes())
	l, _ := start(t, audit.Config{Dir: dir})
	if l.Size() != n {
		t.Errorf("Size() = %d, want %d", l.Size(), n)
	}
	mustAppend(t, l, "next")
	got := problems(t, dir)
	if len(got) != 2 || !strings.HasPrefix(got[0], "audit line 0: ") || !strings.HasPrefix(got[1], "audit line 1: ") {
		t.Errorf("problems: %q", got)
	}
}

// Damage of another kind than a crash leaves was done by a disk or by somebody. The
// lines behind it were acknowledged: they stay, and Check names the damage.
func TestEditedLineStays(t *testing.T) {
	for _, edit := range []struct {
		name string
		do   func(line []byte) []byte
	}{
		{"first byte", func(l []byte) []byte { l[0] = 'x'; return l }},
		{"one bit", func(l []byte) []byte { l[20] ^= 0x80; return l }},
		{"emptied", func([]byte) []byte { return nil }},
		{"divided", func(l []byte) []byte { l[30] = '\n'; return l }},
	} {
		for at := range 3 {
			t.Run(fmt.Sprintf("%s of line %d", edit.name, at), func(t *testing.T) {
				var data []byte
				for i := range 3 {
					l := line(fmt.Sprint(i))
					if i == at {
						l = edit.do(l)
					}
					data = append(append(data, l...), '\n')
				}
				dir := t.TempDir()
				put(t, filepath.Join(dir, firstSegment), data)
				l, _ := start(t, audit.Config{Dir: dir})
				mustAppend(t, l, "next")
				if got := read(t, filepath.Join(dir, firstSegment)); !bytes.HasPrefix(got, data) {
					t.Errorf("%q is left of %q", got, data)
				}
				if got := problems(t, dir); len(got) == 0 || !strings.HasPrefix(got[0], fmt.Sprintf("audit line %d: ", at)) {
					t.Errorf("problems = %q, want line %d", got, at)
				}
			})
		}
	}
}

// inLog leaves out problems that are not in the log itself.
func inLog(problems []string) (in []string) {
	for _, p := range problems {
		if !strings.HasPrefix(p, "audit log: recovery moved ") {
			in = append(in, p)
		}
	}
	return in
}

// Zeros are what a crash leaves, and can come from elsewhere: records behind them are
// kept aside, and Check says so until somebody has looked.
func TestCheckReportsCuts(t *testing.T) {
	dir := t.TempDir()
	data := append(line("a"), '\n')
	data = append(append(data, make([]byte, 100)...), '\n')
	whole := len(data)
	data = append(append(data, line("b")...), '\n')
	put(t, filepath.Join(dir, firstSegment), data)
	l, _ := start(t, audit.Config{Dir: dir})
	mustAppend(t, l, "c")
	aside := fmt.Sprintf("%s.cut-%d", firstSegment, whole-101)
	want := []string{"audit log: recovery moved 1 whole records behind a damaged one into " + aside +
		": expected only after a power failure, and then the file can be removed"}
	if diff := cmp.Diff(want, problems(t, dir)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(dir, aside)); err != nil {
		t.Fatal(err)
	}
	if got := problems(t, dir); got != nil {
		t.Errorf("problems without the file: %q", got)
	}
}

func TestCheckReports(t *testing.T) {
	joined := func(lines ...[]byte) []byte { return append(bytes.Join(lines, []byte("\n")), '\n') }
	tests := []struct {
		name  string
		files map[string][]byte
		want  []string
	}{
		{"sound", map[string][]byte{firstSegment: joined(line("a"), line("b"))}, nil},
		{"older segments archived", map[string][]byte{"00000000000000000007.jsonl": joined(line("a"))}, nil},
		{"double id", map[string][]byte{firstSegment: joined(line("a"), line("b"), line("a"))}, []string{`audit line 2: event id "a" is already on line 0`}},
		{"double id in another segment", map[string][]byte{firstSegment: joined(line("a")), "00000000000000000001.jsonl": joined(line("a"))},
			[]string{`audit line 1: event id "a" is already on line 0`}},
		{"not JSON", map[string][]byte{firstSegment: joined(line("a"), []byte("x"))},
			[]string{"audit line 1: invalid character 'x' looking for beginning of value"}},
		{"not a record", map[string][]byte{firstSegment: joined([]byte("{}"), bytes.Replace(line("b"), []byte(`"node":"n1"`), nil, 1))},
			[]string{"audit line 0: no eventVersion", "audit line 1: no node"}},
		{"missing segment", map[string][]byte{firstSegment: joined(line("a")), "00000000000000000003.jsonl": joined(line("b"))},
			[]string{"audit log: lines 1 to 2 are missing"}},
		{"overlap", map[string][]byte{firstSegment: joined(line("a"), line("b"), line("c")), "00000000000000000001.jsonl": joined(line("d"))},
			[]string{"audit log: lines 1 to 2 exist twice"}},
		{"segment ends within a line", map[string][]byte{firstSegment: line("a"), "00000000000000000001.jsonl": joined(line("b"))},
			[]string{"audit segment 00000000000000000000.jsonl ends within line 0"}},
		{"newest is being written", map[string][]byte{firstSegment: append(joined(line("a")), "{"...)}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range tt.files {
				put(t, filepath.Join(dir, name), data)
			}
			if diff := cmp.Diff(tt.want, problems(t, dir)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// After a power failure any blocks of the last batch may be missing, in any pattern,
// while the file's length may be that of any of them.
func TestLostBlocks(t *testing.T) {
	const block = 4096
	var durable, batch []byte
	want := []string{}
	for i := range 7 {
		want = append(want, fmt.Sprint("kept", i))
		durable = append(append(durable, line(want[i])...), '\n')
	}
	for i := range 14 {
		batch = append(append(batch, line(fmt.Sprint("batch", i))...), '\n')
	}
	whole := append(bytes.Clone(durable), batch...)
	from := len(durable) / block
	for blocks := from + 1; blocks*block < len(whole)+block; blocks++ {
		for lost := range 1 << (blocks - from) {
			data := bytes.Clone(whole[:min(len(whole), blocks*block)])
			for b := range blocks - from {
				if lost>>b&1 == 1 {
					begin := max(len(durable), (from+b)*block)
					clear(data[begin:min(len(data), max(begin, (from+b+1)*block))])
				}
			}
			dir := t.TempDir()
			put(t, filepath.Join(dir, firstSegment), data)
			l, _ := open(t, audit.Config{Dir: dir})
			got := scan(t, dir, 0)
			if len(got) < len(want) || !cmp.Equal(want, got[:len(want)]) {
				t.Fatalf("%d blocks, lost %b: ids %q", blocks, lost, got)
			}
			for i, id := range got[len(want):] {
				if id != fmt.Sprint("batch", i) {
					t.Fatalf("%d blocks, lost %b: ids %q", blocks, lost, got)
				}
			}
			if p := inLog(problems(t, dir)); p != nil {
				t.Fatalf("%d blocks, lost %b: problems %q", blocks, lost, p)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Whatever the newest segment holds, Open keeps a prefix of whole lines, and what is
// appended then follows it.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\n\n"))
	f.Add([]byte("{}\n{}\n{"))
	f.Add(append(line("a"), '\n'))
	f.Add(append(append(line("a"), 0, 0, 0, '\n'), line("b")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, firstSegment)
		put(t, path, data)
		l, _ := start(t, audit.Config{Dir: dir})
		kept := read(t, path)
		if !bytes.HasPrefix(data, kept) || len(kept) > 0 && kept[len(kept)-1] != '\n' {
			t.Fatalf("kept %q of %q", kept, data)
		}
		if got, want := l.Size(), uint64(bytes.Count(kept, []byte("\n"))); got != want {
			t.Fatalf("Size() = %d, want %d", got, want)
		}
		mustAppend(t, l, "next")
		if got := read(t, path); !bytes.Equal(got, append(append(kept, line("next")...), '\n')) {
			t.Fatalf("after Append: %q", got)
		}
		problems(t, dir) // any number of them, but it ends
	})
}
