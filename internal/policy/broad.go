package policy

import (
	"fmt"
	"slices"
	"strings"

	"arca/internal/arn"
)

// Whether a policy lets in callers that it does not name is decided by looking for one:
// a stranger, who belongs to no account, organization, network or service that the
// policy names, and a request of his that a statement allows and none denies. Of the
// condition keys that tell who calls, and for whom, the stranger has values that the
// policy does not fix; of all others any that help him.
//
// What a statement demands of one key is a set of values, and whether some such sets
// have a value in common is decided exactly, for each kind of operator in its own way.
// A Deny is escaped by missing one of its conditions; which one, is searched for. So
// that nothing is missed, whatever cannot be decided lets the stranger in: a condition
// with variables, a key that is compared as a string and as a number, and a policy that
// takes too much work.

// Target is what a resource policy is attached to.
type Target struct {
	Resource string   // its ARN; "" when it is not known, which stands for any
	Actions  []string // all that can be done to it; a policy that allows none of them lets nobody in
}

// Broad is a way in that a policy leaves open to callers it does not name.
type Broad struct {
	Statement int    // index of the statement that allows
	Sid       string // its Sid
	// Request is one that the policy allows. It is nil when none was worked out: then it
	// could only not be shown that there is none.
	Request *Request
	// Keys are the condition keys of the request, sorted by name.
	Keys []ContextKey
}

// Error tells what is open, in one sentence.
func (b *Broad) Error() string {
	var out strings.Builder
	fmt.Fprintf(&out, "statement %d", b.Statement+1)
	if b.Sid != "" {
		fmt.Fprintf(&out, " (%s)", b.Sid)
	}
	if b.Request == nil {
		return out.String() + " may let in callers whom the policy does not name: it cannot be ruled out"
	}
	who := b.Request.Caller.ARN
	if b.Request.Caller.Kind == ServiceCaller {
		who = "service " + b.Request.Caller.Service
	}
	fmt.Fprintf(&out, " lets in callers whom the policy does not name, such as %s who asks for %s", who, b.Request.Action)
	for i, k := range b.Keys {
		separator := ", "
		if i == 0 {
			separator = " with "
		}
		fmt.Fprintf(&out, "%s%s %q", separator, k.Name, k.Values)
	}
	return out.String()
}

// FindBroadAccess reports whether a resource policy lets in callers that it does not
// name, and how. The work is bounded.
func FindBroadAccess(doc *Document, t Target) (*Broad, bool) {
	f := newFinder(doc, t)
	for i := range f.statements {
		s := &f.statements[i]
		if s.compiled.deny {
			continue
		}
		for _, kind := range []CallerKind{RoleCaller, ServiceCaller} {
			f.become(kind)
			if f.eval.reach(s.compiled) == notNamed {
				continue
			}
			if b := f.enter(i); b != nil {
				return b, true
			}
		}
	}
	return nil, false
}

// maxBroadWork bounds the search. A unit is about the comparison of a value with a
// pattern, and all together take some tens of milliseconds.
const maxBroadWork = 1 << 20

// resourceKey stands for the resource where it is not known: statements then have
// conditions on it like on any other key.
const resourceKey = "\x00resource"

// finder is one search.
type finder struct {
	doc        *Document
	compiled   *Compiled
	target     Target
	statements []broadStatement
	keys       map[string]*broadKey
	conditions int // how many there are
	budget     int

	owner   string // account of the resource
	account string // that the policy does not name
	word    string // that does not occur in the policy
	caller  Caller // the stranger
	eval    evaluation
	known   map[string]solution // by kind of stranger and demands
}

// broadStatement is a statement with its resource element as a condition.
type broadStatement struct {
	compiled   *statement
	actions    []actionPattern
	notActions bool
	conditions []*broadCondition
	nowhere    bool // it is about other resources
}

type broadKey struct {
	name     string
	form     keyForm
	bounding bool
	fixes    []*broadCondition // what the policy fixes
}

type broadCondition struct {
	condition
	id       int
	key      *broadKey
	deny     bool // the effect of its statement
	allFixed bool
	// loose says that variables decide; it is taken for met or not as it suits.
	loose   bool
	spelled bool
	union   []language // if spelled
}

func newFinder(doc *Document, t Target) *finder {
	f := &finder{
		doc: doc, compiled: Compile(doc), target: t,
		keys: make(map[string]*broadKey), budget: maxBroadWork, known: make(map[string]solution),
	}
	text := doc.String()
	for n := 0; ; n++ {
		if f.account = fmt.Sprintf("%012d", 999999999999-n); !strings.Contains(text, f.account) && !strings.Contains(t.Resource, f.account) {
			break
		}
	}
	for f.word = "stranger"; strings.Contains(strings.ToLower(text), f.word); {
		f.word += "x"
	}
	f.owner = "000000000000"
	if a, err := arn.Parse(t.Resource); err == nil && a.Account != "" {
		f.owner = a.Account
	}
	f.become(RoleCaller)
	for i := range doc.Statements {
		f.statements = append(f.statements, f.statement(i))
	}
	return f
}

// become makes the stranger one of a kind.
func (f *finder) become(kind CallerKind) {
	f.caller = Caller{Kind: kind}
	if kind == ServiceCaller {
		f.caller.Service = f.word + ".amazonaws.com"
	} else {
		f.caller = Caller{
			Kind: kind, Account: f.account, UniqueID: "AROA" + strings.ToUpper(f.word), Session: f.word,
			ARN:     "arn:aws:sts::" + f.account + ":assumed-role/" + f.word + "/" + f.word,
			RoleARN: "arn:aws:iam::" + f.account + ":role/" + f.word,
		}
	}
	f.eval = evaluation{req: Request{
		Resource: f.target.Resource, Account: f.owner, Caller: f.caller, Context: f.ownersContext(),
	}}
	f.eval.begin(f.compiled)
}

// fact is what all requests of the stranger have in common.
func (f *finder) fact(key string) fact {
	known := strangerFacts(f.caller.Kind, key)
	if key == "aws:resourceaccount" && f.target.Resource != "" {
		known.value = f.owner
	}
	return known
}

// ownersContext gives the owner's keys, which conditions may compare with.
func (f *finder) ownersContext() keyList {
	return keyList{
		{Name: "aws:resourceaccount", Values: []string{f.owner}},
		{Name: "aws:resourceorgid", Values: []string{"o-owner" + f.word}},
		{Name: "aws:resourceorgpaths", Values: []string{"o-owner" + f.word + "/r-owner/"}},
	}
}

func (f *finder) ownersValue(p Part) string {
	values, _ := f.ownersContext().Lookup(nil, strings.ToLower(p.Text))
	return strings.Join(values, "")
}

// keyList is a Context of a few keys.
type keyList []ContextKey

// Lookup implements Context.
func (l keyList) Lookup(dst []string, key string) ([]string, bool) {
	for _, k := range l {
		if strings.EqualFold(k.Name, key) {
			return append(dst, k.Values...), true
		}
	}
	return dst, false
}

func (f *finder) statement(i int) broadStatement {
	s, compiled := &f.doc.Statements[i], &f.compiled.statements[i]
	out := broadStatement{compiled: compiled, notActions: s.Actions.Not}
	for _, a := range s.Actions.List {
		out.actions = append(out.actions, actionPattern{service: strings.ToLower(a.Service), name: compileName(a.Name)})
	}
	if !compiled.allResources {
		source := &Condition{Key: resourceKey, Operator: Operator{Name: "StringLike", Family: StringFamily, Negated: s.Resources.Not}}
		for _, r := range s.Resources.List {
			source.Values = append(source.Values, Value{Text: r.Pattern.Text, Pattern: r.Pattern})
		}
		c := f.condition(source, compiled.deny)
		if f.target.Resource == "" || c.loose {
			out.conditions = append(out.conditions, c)
		} else {
			out.nowhere = !f.eval.resource(compiled)
		}
	}
	for j := range s.Conditions {
		out.conditions = append(out.conditions, f.condition(&s.Conditions[j], compiled.deny))
	}
	return out
}

func (f *finder) condition(source *Condition, deny bool) *broadCondition {
	f.conditions++
	c := &broadCondition{condition: compileCondition(source), id: f.conditions, deny: deny}
	c.key = f.keys[c.condition.key]
	if c.key == nil {
		c.key = &broadKey{name: c.condition.key}
		if c.key.form, c.key.bounding = boundingKey(c.key.name); !c.key.bounding {
			c.key.form = otherForm(c.key.name)
		}
		f.keys[c.key.name] = c.key
	}
	for _, v := range source.Values {
		c.loose = c.loose || slices.ContainsFunc(v.Pattern.Parts, func(p Part) bool {
			return p.Kind == Variable && !ownersKey(strings.ToLower(p.Text))
		})
	}
	if c.key.bounding && source.Operator.Family != NullFamily {
		f.fix(c)
	}
	return c
}

// fix adds the values that a condition fixes to those that the stranger does not have.
func (f *finder) fix(c *broadCondition) {
	fixed := fixedValues(c.source, c.key.form)
	c.allFixed = !slices.Contains(fixed, false)
	only := *c.source
	only.Operator.Negated, only.Values = false, nil
	for i, v := range c.source.Values {
		if fixed[i] {
			only.Values = append(only.Values, v)
		}
	}
	if len(only.Values) > 0 {
		f.conditions++
		c.key.fixes = append(c.key.fixes, &broadCondition{condition: compileCondition(&only), id: f.conditions, key: c.key})
	}
}

// about reports whether a statement is about an action.
func (s *broadStatement) about(action string) bool {
	service, name, _ := strings.Cut(strings.ToLower(action), ":")
	named := slices.ContainsFunc(s.actions, func(a actionPattern) bool {
		return a.match([]byte(service), []byte(name))
	})
	return named != s.notActions
}

// enter looks for a request of the stranger that statement i allows.
func (f *finder) enter(i int) *Broad {
	s := &f.statements[i]
	if s.nowhere {
		return nil
	}
	tried := make(map[string]bool)
	for _, action := range f.target.Actions {
		if !s.about(action) {
			continue
		}
		// Actions that the same statements are about need to be tried once.
		var denies []*broadStatement
		which := ""
		for j := range f.statements {
			if d := &f.statements[j]; d.compiled.deny && !d.nowhere && d.about(action) && f.eval.reach(d.compiled) != notNamed {
				denies = append(denies, d)
				which += fmt.Sprint(j, " ")
			}
		}
		if tried[which] {
			continue
		}
		tried[which] = true
		w := way{f: f, statement: i, action: action, demands: make(map[*broadKey][]wish)}
		for _, c := range s.conditions {
			w.add(c, true)
		}
		if b := w.search(denies); b != nil {
			return b
		}
	}
	return nil
}
