package event_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"arca/internal/event"
)

func TestPatterns(t *testing.T) {
	tests := []struct {
		name, pattern string
		yes, no       []string
	}{
		{"string", `{"a":["x"]}`, []string{`{"a":"x"}`, `{"a":["y","x"]}`, `{"a":"\u0078"}`, `{"b":1,"a":"x"}`, `{"\u0061":"x"}`, `{"a":[["x"]]}`},
			[]string{`{"a":"X"}`, `{"a":"xx"}`, `{"a":1}`, `{}`, `{"a":{}}`, `{"a":{"x":"x"}}`, `{"a":[]}`, `{"a":null}`}},
		{"one of several", `{"a":["x","y",5]}`, []string{`{"a":"x"}`, `{"a":"y"}`, `{"a":5}`}, []string{`{"a":"z"}`, `{"a":"5"}`}},
		{"number as it is written", `{"a":[300]}`, []string{`{"a":300}`}, []string{`{"a":300.0}`, `{"a":3e2}`, `{"a":"300"}`}},
		{"literals", `{"a":[true,null]}`, []string{`{"a":true}`, `{"a":null}`}, []string{`{"a":false}`, `{"a":"true"}`, `{"a":"null"}`, `{}`}},
		{"empty string", `{"a":[""]}`, []string{`{"a":""}`}, []string{`{"a":null}`, `{}`}},
		{"both members", `{"a":["x"],"b":["y"]}`, []string{`{"a":"x","b":"y"}`}, []string{`{"a":"x"}`, `{"a":"x","b":"x"}`}},
		{"nested", `{"a":{"b":["x"]}}`, []string{`{"a":{"b":"x"}}`, `{"a":[{"b":"y"},{"b":"x"}]}`}, []string{`{"a":"x"}`, `{"a":{"b":"y"}}`, `{"b":"x"}`, `{"a":[]}`}},
		{"of one element of an array", `{"a":{"b":["x"],"c":["y"]}}`, []string{`{"a":[{"b":"1"},{"b":"x","c":"y"}]}`}, []string{`{"a":[{"b":"x","c":"1"},{"b":"1","c":"y"}]}`}},
		{"prefix", `{"a":[{"prefix":"Ab"}]}`, []string{`{"a":"Ab"}`, `{"a":"Abc"}`}, []string{`{"a":"abc"}`, `{"a":"A"}`, `{"a":1}`}},
		{"prefix without case", `{"a":[{"prefix":{"equals-ignore-case":"Äb"}}]}`, []string{`{"a":"äBc"}`, `{"a":"ÄB"}`}, []string{`{"a":"ä"}`, `{"a":""}`}},
		{"suffix", `{"a":[{"suffix":".png"}]}`, []string{`{"a":"x.png"}`}, []string{`{"a":"x.PNG"}`, `{"a":"png"}`}},
		{"suffix without case", `{"a":[{"suffix":{"equals-ignore-case":".pnG"}}]}`, []string{`{"a":"x.PNG"}`, `{"a":".png"}`}, []string{`{"a":"x.jpg"}`, `{"a":"g"}`}},
		{"without case", `{"a":[{"equals-ignore-case":"alice"}]}`, []string{`{"a":"ALICE"}`}, []string{`{"a":"alic"}`, `{"a":5}`}},
		{"wildcard", `{"a":[{"wildcard":"Put*Policy"}]}`, []string{`{"a":"PutPolicy"}`, `{"a":"PutKeyPolicy"}`, `{"a":"PutPolicyPolicy"}`}, []string{`{"a":"PutKeyPolicyX"}`, `{"a":"XPutPolicy"}`, `{"a":"PuPolicy"}`}},
		{"wildcards", `{"a":[{"wildcard":"*b*a*"}]}`, []string{`{"a":"ba"}`, `{"a":"xbxax"}`}, []string{`{"a":"ab"}`, `{"a":"b"}`}},
		{"wildcard that may not overlap", `{"a":[{"wildcard":"aa*aa"}]}`, []string{`{"a":"aaaa"}`}, []string{`{"a":"aaa"}`}},
		{"wildcard, escaped", `{"a":[{"wildcard":"a\\*\\\\*"}]}`, []string{`{"a":"a*\\b"}`}, []string{`{"a":"ab\\"}`}},
		{"wildcard without asterisk", `{"a":[{"wildcard":"ab"}]}`, []string{`{"a":"ab"}`}, []string{`{"a":"abc"}`}},
		{"exists", `{"a":{"b":[{"exists":true}]}}`, []string{`{"a":{"b":1}}`, `{"a":{"b":null}}`, `{"a":{"b":{"c":1}}}`}, []string{`{"a":{}}`, `{}`, `{"a":1}`}},
		{"does not exist", `{"a":{"b":[{"exists":false}]}}`, []string{`{"a":{}}`, `{}`, `{"a":1}`, `{"a":[]}`, `{"a":[1]}`}, []string{`{"a":{"b":1}}`, `{"a":{"b":null}}`, `{"a":[{"b":1}]}`}},
		{"does not exist, or is something", `{"b":[{"exists":false},"x"]}`, []string{`{}`, `{"b":"x"}`}, []string{`{"b":"y"}`}},
		{"numeric", `{"a":[{"numeric":[">",0,"<=",5]}]}`, []string{`{"a":5}`, `{"a":0.1}`, `{"a":5e0}`}, []string{`{"a":0}`, `{"a":5.1}`, `{"a":"3"}`, `{"a":true}`}},
		{"numeric equality", `{"a":[{"numeric":["=",5]}]}`, []string{`{"a":5}`, `{"a":5.0}`}, []string{`{"a":6}`}},
		{"cidr", `{"a":[{"cidr":"10.0.0.0/8"}]}`, []string{`{"a":"10.1.2.3"}`, `{"a":"::ffff:10.1.2.3"}`}, []string{`{"a":"11.1.2.3"}`, `{"a":"x"}`, `{"a":"::1"}`}},
		{"cidr of IPv6", `{"a":[{"cidr":"2001:db8::/32"}]}`, []string{`{"a":"2001:db8::1"}`}, []string{`{"a":"2001:db9::1"}`}},
		{"anything but", `{"a":[{"anything-but":"x"}]}`, []string{`{"a":"y"}`, `{"a":1}`, `{"a":null}`, `{"a":["x","y"]}`}, []string{`{"a":"x"}`, `{}`, `{"a":{}}`, `{"a":["x"]}`}},
		{"anything but several", `{"a":[{"anything-but":["x","y"]}]}`, []string{`{"a":"z"}`}, []string{`{"a":"x"}`, `{"a":"y"}`}},
		{"anything but numbers", `{"a":[{"anything-but":[1,2]}]}`, []string{`{"a":3}`, `{"a":"1"}`}, []string{`{"a":1}`}},
		{"anything but prefix", `{"a":[{"anything-but":{"prefix":"x"}}]}`, []string{`{"a":"y"}`, `{"a":1}`}, []string{`{"a":"xy"}`}},
		{"anything but suffixes", `{"a":[{"anything-but":{"suffix":["x","y"]}}]}`, []string{`{"a":"z"}`}, []string{`{"a":"ax"}`, `{"a":"ay"}`}},
		{"anything but without case", `{"a":[{"anything-but":{"equals-ignore-case":["x","y"]}}]}`, []string{`{"a":"z"}`}, []string{`{"a":"X"}`}},
		{"anything but wildcard", `{"a":[{"anything-but":{"wildcard":"*/lib/*"}}]}`, []string{`{"a":"/bin/x"}`}, []string{`{"a":"/lib/x"}`}},
		{"or", `{"c":[1],"$or":[{"a":["x"]},{"b":["y"]}]}`, []string{`{"c":1,"a":"x"}`, `{"c":1,"b":"y","a":"z"}`}, []string{`{"c":1}`, `{"a":"x"}`, `{"c":1,"a":"y"}`}},
		{"or inside", `{"a":{"$or":[{"b":[1]},{"c":[2]}]}}`, []string{`{"a":{"b":1}}`, `{"a":{"c":2}}`}, []string{`{"a":{}}`, `{"b":1}`}},
		{"backslashes are not escapes of each other", `{"a":["x\\n"]}`, []string{`{"a":"x\\n"}`}, []string{`{"a":"x\n"}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := event.ParsePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range tt.yes {
				if !p.Match([]byte(e)) {
					t.Errorf("%s does not match %s", tt.pattern, e)
				}
				if !slowMatch(t, tt.pattern, e) {
					t.Errorf("by the other implementation, %s does not match %s", tt.pattern, e)
				}
			}
			for _, e := range append(tt.no, `[]`, `1`, ``, `{`) {
				if p.Match([]byte(e)) {
					t.Errorf("%s matches %s", tt.pattern, e)
				}
			}
			for _, e := range tt.no {
				if slowMatch(t, tt.pattern, e) {
					t.Errorf("by the other implementation, %s matches %s", tt.pattern, e)
				}
			}
		})
	}
}

func badPatterns() []string {
	return []string{
		``, `x`, `[]`, `{}`, `{"a":"x"}`, `{"a":1}`, `{"a":{}}`, `{"a":[]}`, `{"a":[[]]}`, `{"a":["x"],"a":["y"]}`, `{"a":[{}]}`, `{"a":[{"prefix":"x","suffix":"y"}]}`,
		`{"a":[{"unknown":"x"}]}`, `{"a":[{"prefix":1}]}`, `{"a":[{"prefix":{"prefix":"x"}}]}`, `{"a":[{"prefix":{}}]}`, `{"a":[{"prefix":{"equals-ignore-case":1}}]}`, `{"a":[{"wildcard":"**"}]}`,
		`{"a":[{"wildcard":"\\a"}]}`, `{"a":[{"wildcard":"\\"}]}`, `{"a":[{"exists":1}]}`, `{"a":[{"exists":"true"}]}`, `{"a":[{"numeric":5}]}`, `{"a":[{"numeric":[]}]}`, `{"a":[{"numeric":[">"]}]}`,
		`{"a":[{"numeric":[">","5"]}]}`, `{"a":[{"numeric":["!",5]}]}`, `{"a":[{"numeric":[">",5,"<",5]}]}`, `{"a":[{"numeric":["<",1,">",5]}]}`, `{"a":[{"numeric":["=",1,"=",2]}]}`, `{"a":[{"numeric":["=",1,"<",2]}]}`,
		`{"a":[{"numeric":[">",1,">=",2]}]}`, `{"a":[{"numeric":[">",6e9]}]}`, `{"a":[{"cidr":"10.0.0.0"}]}`, `{"a":[{"cidr":"10.0.0.0/33"}]}`, `{"a":[{"cidr":5}]}`, `{"a":[{"anything-but":null}]}`,
		`{"a":[{"anything-but":[]}]}`, `{"a":[{"anything-but":["x",1]}]}`, `{"a":[{"anything-but":[true]}]}`, `{"a":[{"anything-but":{}}]}`, `{"a":[{"anything-but":{"cidr":"10.0.0.0/8"}}]}`,
		`{"a":[{"anything-but":{"prefix":[]}}]}`, `{"a":[{"anything-but":{"prefix":[1]}}]}`, `{"a":[{"anything-but":{"prefix":1}}]}`, `{"$or":[]}`, `{"$or":[{"a":[1]}]}`, `{"$or":{"a":[1]}}`, `{"$or":[1,2]}`, `{"$or":[{},{}]}`,
		`{"a":[01]}`, `{"a":["x"]} `, `{"a":["x"]}x`, "{\"a\":[\"\x01\"]}", `{"a":["` + strings.Repeat("x", event.MaxPatternBytes) + `"]}`, strings.Repeat(`{"a":`, 800),
	}
}

func TestBadPatterns(t *testing.T) {
	for _, p := range badPatterns() {
		if strings.HasSuffix(p, " ") {
			continue // white space is no mistake
		}
		if _, err := event.ParsePattern(p); err == nil {
			t.Errorf("ParsePattern(%.80s) = nil", p)
		}
	}
}

// slowMatch is the same language once more, on decoded values and without any of the
// shortcuts. It only knows patterns that ParsePattern takes.
func slowMatch(t testing.TB, pattern, ev string) bool {
	decode := func(s string) any {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("decode %q: %v", s, err)
		}
		return v
	}
	e, ok := decode(ev).(map[string]any)
	return ok && slowGroup(decode(pattern).(map[string]any), e)
}

func slowGroup(p, e map[string]any) bool {
	for name, want := range p {
		if name == "$or" {
			if !slices.ContainsFunc(want.([]any), func(alt any) bool { return slowGroup(alt.(map[string]any), e) }) {
				return false
			}
			continue
		}
		v, there := e[name]
		switch want := want.(type) {
		case map[string]any:
			if !slowInside(want, v) {
				return false
			}
		case []any:
			if !slices.ContainsFunc(want, func(m any) bool { return slowAny(m, v, there) }) {
				return false
			}
		}
	}
	return true
}

func slowInside(p map[string]any, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return slowGroup(p, v)
	case []any:
		var objects []any
		for _, x := range v {
			switch x.(type) {
			case map[string]any, []any:
				objects = append(objects, x)
			}
		}
		if len(objects) > 0 {
			return slices.ContainsFunc(objects, func(x any) bool { return slowInside(p, x) })
		}
	}
	return slowGroup(p, nil)
}

func slowAny(m, v any, there bool) bool {
	if o, ok := m.(map[string]any); ok {
		if want, ok := o["exists"]; ok {
			return there == want.(bool)
		}
	}
	if !there {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		return false
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return slowAny(m, x, true) })
	}
	return slowScalar(m, v)
}

func slowScalar(m, v any) bool {
	o, ok := m.(map[string]any)
	if !ok {
		return fmt.Sprintf("%T %v", m, m) == fmt.Sprintf("%T %v", v, v)
	}
	for op, arg := range o {
		s, isString := v.(string)
		switch op {
		case "anything-but":
			var not []any
			switch arg := arg.(type) {
			case []any:
				not = arg
			case map[string]any:
				for op, x := range arg {
					list, ok := x.([]any)
					if !ok {
						list = []any{x}
					}
					for _, x := range list {
						not = append(not, map[string]any{op: x})
					}
				}
			default:
				not = []any{arg}
			}
			return !slices.ContainsFunc(not, func(n any) bool { return slowScalar(n, v) })
		case "numeric":
			n, ok := v.(json.Number)
			if !ok {
				return false
			}
			x, err := strconv.ParseFloat(n.String(), 64)
			if err != nil {
				return false
			}
			list := arg.([]any)
			for i := 0; i < len(list); i += 2 {
				y, _ := list[i+1].(json.Number).Float64()
				if !map[string]bool{"=": x == y, "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[list[i].(string)] {
					return false
				}
			}
			return true
		case "cidr":
			a, err := netip.ParseAddr(s)
			return isString && err == nil && netip.MustParsePrefix(arg.(string)).Masked().Contains(a.Unmap())
		}
		if !isString {
			return false
		}
		text := ""
		fold := op == "equals-ignore-case"
		switch arg := arg.(type) {
		case string:
			text = arg
		case map[string]any:
			text, fold = arg["equals-ignore-case"].(string), true
		}
		same := func(a string) bool { return a == text || fold && strings.EqualFold(a, text) }
		rs := []rune(s)
		n := len([]rune(text))
		switch op {
		case "equals-ignore-case":
			return same(s)
		case "prefix":
			return strings.HasPrefix(s, text) || fold && n <= len(rs) && same(string(rs[:n]))
		case "suffix":
			return strings.HasSuffix(s, text) || fold && n <= len(rs) && same(string(rs[len(rs)-n:]))
		case "wildcard":
			return slowWildcard(text, s)
		}
	}
	return false
}

func slowWildcard(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return slowWildcard(p[1:], s) || s != "" && slowWildcard(p, s[1:])
	case p[0] == '\\':
		p = p[1:]
	}
	return s != "" && s[0] == p[0] && slowWildcard(p[1:], s[1:])
}

// FuzzPattern: parsing never panics, and whatever is taken matches what the other
// implementation matches.
func FuzzPattern(f *testing.F) {
	for _, p := range badPatterns() {
		f.Add(p, `{"a":"x"}`)
	}
	for _, a := range event.ReadyNames() {
		alarm, _ := event.Ready(a)
		f.Add(alarm.Pattern, `{"detail":{"eventName":"GetSecretValue","errorCode":"AccessDenied","resources":[{"ARN":"a"}]}}`)
	}
	f.Add(`{"a":[{"anything-but":{"wildcard":"*x*"}},{"numeric":["<",5]}],"$or":[{"b":[null]},{"c":{"d":[{"exists":false}]}}]}`, `{"a":[1,{"x":[]}],"c":[{}]}`)
	f.Add(`{"a":[{"suffix":{"equals-ignore-case":"K"}},{"cidr":"::/0"}]}`, `{"a":["\u212a","::1"]}`)
	f.Fuzz(func(t *testing.T, pattern, ev string) {
		p, err := event.ParsePattern(pattern)
		if err != nil {
			return
		}
		got := p.Match([]byte(ev))
		if !json.Valid([]byte(ev)) || !json.Valid([]byte(pattern)) {
			return
		}
		// Text that is not UTF-8 is compared as it is here and as U+FFFD there.
		if strings.ToValidUTF8(pattern+ev, "") != pattern+ev || strings.Contains(pattern+ev, `\u`) && strings.Contains(pattern, "�") {
			return
		}
		if len(pattern) > 200 || len(ev) > 200 {
			return // the other one is slow
		}
		if want := slowMatch(t, pattern, ev); got != want {
			t.Errorf("%s on %s = %v, want %v", pattern, ev, got, want)
		}
	})
}

// FuzzDocument: what can be parsed is what encoding/json takes.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{}`, `[1,-0.5e+10,"\ud800\n",true,null]`, `{"a":{"b":[]}} `, `01`, `1.`, `"\x"`, `{"a"}`, `[,]`, `[1,]`, "\"\x7f\xff\"", `nul`, `-`, `1e`, ` `, `{"a":1,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 500 {
			return // there may be deeper nesting than is taken
		}
		if got, want := event.IsJSON(b), json.Valid(b); got != want {
			t.Errorf("%q: %v, want %v", b, got, want)
		}
	})
}
