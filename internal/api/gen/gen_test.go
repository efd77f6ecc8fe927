package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGeneratedIsCurrent compares what is in the tree with what the descriptions say.
func TestGeneratedIsCurrent(t *testing.T) {
	files, err := render("..")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what its description generates; run go generate ./internal/api\n%s", path, diff)
		}
	}
}

const header = `service x
  package  xapi
  target   X
  version  2020-01-01
  protocol json1.1
  events   x.amazonaws.com
  internal Broken

error Broken 500
`

func TestParse(t *testing.T) {
	svc, err := parse("x.api", header+`
type Name string 1..10 pattern `+"`[a-z |#<>,]+`"+` sensitive   # the quotes protect
struct Thing
  A! Name | B list<Name> ..5
  C map<string, list<long -3..7>>
  D string enum red dark-blue | E integer token | F bool plain
op Do readonly
  in  T Thing | Things list<Thing> 1..
      More blob
  out
  err Broken
`)
	if err != nil {
		t.Fatal(err)
	}
	thing := svc.byName["Thing"]
	a := thing.fields[0]
	if !a.required || a.typ.pattern != "[a-z |#<>,]+" || !a.typ.sensitive || a.typ.min != 1 || a.typ.max != 10 {
		t.Errorf("member A = %+v %+v", a, a.typ)
	}
	if b := thing.fields[1].typ; b.kind != "list" || b.elem != a.typ || b.hasMin || b.max != 5 {
		t.Errorf("member B = %+v", b)
	}
	if c := thing.fields[2].typ; c.kind != "map" || c.elem.elem.min != -3 || c.elem.elem.max != 7 {
		t.Errorf("member C = %+v", c)
	}
	if d := thing.fields[3].typ; !cmp.Equal(d.enum, []string{"red", "dark-blue"}) {
		t.Errorf("member D = %+v", d)
	}
	if !thing.fields[4].token {
		t.Error("member E lost its token mark")
	}
	if !thing.fields[5].plain {
		t.Error("member F lost its plain mark")
	}
	op := svc.ops[0]
	if !op.readOnly || len(op.in.fields) != 3 || len(op.out.fields) != 0 || !cmp.Equal(op.errors, []string{"Broken"}) {
		t.Errorf("op = %+v", op)
	}
	if _, err := emit(svc, "x.api"); err != nil {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown declaration", "gadget x", "unknown declaration"},
		{"indented line first", "", ""},
		{"unknown type", "type A list<B>", "B is not declared"},
		{"declared twice", "type A string\ntype A string", "declared twice"},
		{"bad status", "error E 200", "bad status"},
		{"open pattern", "type A string pattern `a", "closing quote"},
		{"bad pattern", "type A string pattern `[`", "missing closing ]"},
		{"leftover", "type A string 1..2 loud", `unexpected "loud"`},
		{"range on a reference", "type A string\nstruct S\n  M A 1..2", `unexpected "1..2"`},
		{"member without type", "struct S\n  M", "has no type"},
		{"member twice", "struct S\n  M string | M string", "described twice"},
		{"error not declared", "op O\n  in\n  out\n  err Nope", "error Nope is not declared"},
		{"line outside a section", "op O\n  M string", "before in, out or err"},
		{"map with other keys", "struct S\n  M map<long, string>", "keys must be strings"},
		{"renaming", "type A string\ntype B A", "only renames"},
		{"bad service line", "service y\n  colour blue", "bad service line"},
		{"unknown mark of an operation", "op O loud", `unexpected "loud"`},
		{"bad pattern in Java's spelling", "type A string pattern `[\\u0041`", "missing closing ]"},
		{"unclosed list", "type A list<string", `">" expected`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := header + tt.text
			if tt.text == "" {
				text, tt.want = "  in A string", "outside a declaration"
			}
			_, err := parse("x.api", text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parse() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestServiceHeaderMustBeWhole(t *testing.T) {
	for line := range strings.Lines(header) {
		if !strings.HasPrefix(line, "  ") {
			continue
		}
		if _, err := parse("x.api", strings.Replace(header, line, "", 1)); err == nil {
			t.Errorf("a service without %q is accepted", strings.TrimSpace(line))
		}
	}
}

// TestQueryService reads what only descriptions of Query services have.
func TestQueryService(t *testing.T) {
	head := strings.Replace(strings.Replace(header, "json1.1", "query", 1), "target   X", "namespace https://x.example/", 1)
	svc, err := parse("x.api", head+`
type State string quiet enum On Off
op Put unsigned
  in   descr! string pattern `+"`[\\u0020-\\u007E\\u10000-\\u10FFFF]+`"+` | State State
op Touch
  in
  out
`)
	if err != nil {
		t.Fatal(err)
	}
	put, touch := svc.ops[0], svc.ops[1]
	if !put.unsigned || put.result || touch.unsigned || !touch.result || !svc.byName["State"].quiet {
		t.Errorf("operations = %+v, %+v", put, touch)
	}
	files, err := emit(svc, "x.api")
	if err != nil {
		t.Fatal(err)
	}
	for file, parts := range map[string][]string{
		"operations.go": {`Namespace:     "https://x.example/"`, "Unsigned: true", "NoResult: true"},
		"types.go":      {"Descr string"},
		"shapes.go": {`{Name: "descr", Index: 0`, "PatternAs: `[\\u0020-\\u007E\\u10000-\\u10FFFF]+`",
			"MustCompile(`\\A(?:[\\x{0020}-\\x{007E}\\x{10000}-\\x{10FFFF}]+)\\z`)", "Quiet: true"},
	} {
		for _, part := range parts {
			if !strings.Contains(string(files[file]), part) {
				t.Errorf("%s lacks %s:\n%s", file, part, files[file])
			}
		}
	}
	for _, bad := range []string{
		strings.Replace(head, "namespace https://x.example/", "target X", 1),
		strings.Replace(strings.Replace(header, "json1.1", "restjson", 1), "target   X", "namespace https://x.example/", 1),
	} {
		if _, err := parse("x.api", bad); err == nil || !strings.Contains(err.Error(), "belongs to") {
			t.Errorf("parse() = %v, want a refusal of\n%s", err, bad)
		}
	}
}

// TestRESTService reads what only descriptions of REST-JSON services have.
func TestRESTService(t *testing.T) {
	head := strings.Replace(strings.Replace(header, "json1.1", "restjson", 1), "  target   X\n", "", 1) + "error Odd 409 message\n"
	const good = `
struct Thing
  A string
op Put slow
  http PUT /2020-01-01/things/{Name}/{Part} 201 5000
  event Put20200101
  in   Name! string uri | Part! string uri | Keys list<string> query keys
       Kind string header X-Kind | Data blob payload
  out  = Thing
op Get readonly
  http GET /2020-01-01/things/{Name} 200
  in   Name! string uri | Most integer query max
  out  Code integer plain status | Kind string header X-Kind | Data blob payload
  err  Odd
`
	svc, err := parse("x.api", head+good)
	if err != nil {
		t.Fatal(err)
	}
	files, err := emit(svc, "x.api")
	if err != nil {
		t.Fatal(err)
	}
	for file, parts := range map[string][]string{
		"codes.go": {`{Name: "Odd", Status: 409, Member: "message"}`},
		"operations.go": {
			`Slow:      true`, `EventName: "Put20200101"`, `Method:    "PUT"`, `Path:      "/2020-01-01/things/{Name}/{Part}"`, "Status:    201", "MaxBody:   5000",
			"Input:     shapePutInput", "Output:    shapeThing",
		},
		"shapes.go": {
			`{Name: "Keys", Index: 2, Shape: shapePutInputKeys, Place: api.InQuery, WireName: "keys"}`, `Place: api.InHeader, WireName: "X-Kind"}`,
			"Place: api.AsBody}", "Place: api.AsStatus}", "Required: true, Place: api.InPath}",
		},
	} {
		for _, part := range parts {
			if !strings.Contains(string(files[file]), part) {
				t.Errorf("%s lacks %s:\n%s", file, part, files[file])
			}
		}
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"no path", "  http GET /2020-01-01/things/{Name} 200\n", "", "belongs to restjson"},
		{"two paths", "  event Put20200101\n", "  http GET /x 200\n", "given twice"},
		{"other method", "http GET", "http PATCH", "bad http line"},
		{"relative path", "http GET /", "http GET ", "bad http line"},
		{"status of an error", "{Name} 200", "{Name} 404", "bad status"},
		{"no size", " 5000", " none", "bad size"},
		{"member of the path that is missing", "/{Part}", "", "the path has the members"},
		{"path member that may be absent", "Part! string uri", "Part string uri", "cannot stand in the input as uri"},
		{"list in a header", "Keys list<string> query keys", "Keys list<string> header keys", "cannot stand in the input as header"},
		{"map in the query", "Keys list<string> query keys", "Keys map<string, string> query keys", "cannot stand in the input as query"},
		{"string as payload", "Data blob payload\n  out  =", "Data string payload\n  out  =", "cannot stand in the input as payload"},
		{"status in the input", "Most integer query max", "Most integer status", "cannot stand in the input as status"},
		{"query in the output", "Kind string header X-Kind | Data blob payload\n  err", "Kind string query k\n  err", "cannot stand in the output as query"},
		{"status of another kind", "Code integer plain status", "Code string status", "cannot stand in the output as status"},
		{"output that is no structure", "= Thing", "= Things", "structure Things is not declared"},
		{"event without a name", "event Put20200101", "event", "event needs one name"},
		{"throttled by nothing", "struct Thing", "service x\n  throttled Busy\nstruct Thing", "error Busy is not declared"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			if text == good {
				t.Fatalf("%q is not there", tt.old)
			}
			if _, err := parse("x.api", head+text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parse() = %v, want an error with %q", err, tt.want)
			}
		})
	}
	_, err = parse("x.api", header+"op Do\n  http GET /2020-01-01/x 200\n  in\n  out\n")
	if err == nil || !strings.Contains(err.Error(), "belongs to restjson") {
		t.Errorf("a path in json1.1: %v", err)
	}
	_, err = parse("x.api", header+"op Do\n  in A string query a\n  out\n")
	if err == nil || !strings.Contains(err.Error(), "cannot stand in the input as query") {
		t.Errorf("a place in json1.1: %v", err)
	}
}
