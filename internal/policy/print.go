package policy

import (
	"bytes"
	"encoding/json"
)

// String returns a policy text with the same meaning: elements in the order in which
// AWS documents them, every list as a list.
func (d *Document) String() string {
	var out printer
	out.object(func(member func(name string)) {
		member("Version")
		out.str(string(d.Version))
		if d.ID != "" {
			member("Id")
			out.str(d.ID)
		}
		member("Statement")
		out.list(len(d.Statements), func(i int) { out.statement(&d.Statements[i]) })
	})
	return out.String()
}

type printer struct{ bytes.Buffer }

func (o *printer) str(s string) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// Encoding a string into memory cannot fail.
	_ = e.Encode(s)
	o.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func (o *printer) list(n int, item func(i int)) {
	o.WriteByte('[')
	for i := range n {
		if i > 0 {
			o.WriteByte(',')
		}
		item(i)
	}
	o.WriteByte(']')
}

// object calls members, which calls member before it writes each value.
func (o *printer) object(members func(member func(name string))) {
	o.WriteByte('{')
	first := true
	members(func(name string) {
		if !first {
			o.WriteByte(',')
		}
		first = false
		o.str(name)
		o.WriteByte(':')
	})
	o.WriteByte('}')
}

func (o *printer) statement(s *Statement) {
	o.object(func(member func(name string)) {
		not := func(not bool, name string) {
			if not {
				name = "Not" + name
			}
			member(name)
		}
		if s.Sid != "" {
			member("Sid")
			o.str(s.Sid)
		}
		member("Effect")
		o.str(string(s.Effect))
		if p := s.Principals; p != nil {
			not(p.Not, "Principal")
			o.principals(p)
		}
		not(s.Actions.Not, "Action")
		o.list(len(s.Actions.List), func(i int) { o.str(s.Actions.List[i].String()) })
		if r := s.Resources; r != nil {
			not(r.Not, "Resource")
			o.list(len(r.List), func(i int) { o.str(r.List[i].Pattern.Text) })
		}
		if len(s.Conditions) > 0 {
			member("Condition")
			o.conditions(s.Conditions)
		}
	})
}

// String returns the action as it stands in a policy.
func (a Action) String() string {
	if a.Service == "*" {
		return "*"
	}
	return a.Service + ":" + a.Name
}

// element returns the member of a Principal element that the kind stands in.
func (k PrincipalKind) element() string {
	switch k {
	case Service, Federated, CanonicalUser:
		return string(k)
	}
	return "AWS"
}

// principals prints principals, of which those of one element stand together.
func (o *printer) principals(p *Principals) {
	if p.List[0].Kind == Everyone {
		o.str("*")
		return
	}
	o.object(func(member func(name string)) {
		for list := p.List; len(list) > 0; {
			n := 1
			for n < len(list) && list[n].Kind.element() == list[0].Kind.element() {
				n++
			}
			group := list[:n]
			list = list[n:]
			member(group[0].Kind.element())
			o.list(len(group), func(i int) { o.str(group[i].Value) })
		}
	})
}

// conditions prints conditions, of which those of one operator stand together.
func (o *printer) conditions(all []Condition) {
	o.object(func(member func(name string)) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && all[n].Operator == all[0].Operator {
				n++
			}
			group := all[:n]
			all = all[n:]
			member(group[0].Operator.String())
			o.object(func(member func(name string)) {
				for _, c := range group {
					member(c.Key)
					o.list(len(c.Values), func(i int) { o.str(c.Values[i].Text) })
				}
			})
		}
	})
}
