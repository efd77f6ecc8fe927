package wire

import (
	"encoding/base64"
	"math/big"
	"reflect"
	"strconv"
	"time"

	"arca/internal/api"
)

// DecodeInput reads the input of an operation from what Route found it in, and checks
// every constraint of its description. It returns a pointer to the generated input
// struct. In JSON:
//
//   - A member that is null counts as absent. Absent is nil; an empty string, list or
//     map that was sent is not nil.
//   - Unknown members are ignored, as AWS does, but their syntax is checked. Names are
//     compared exactly.
//   - A known member given twice is refused: which of the two a proxy, a log or a
//     policy looked at could not be told.
//   - Numbers of integer members may be written 3.0 or 3e0, but not 3.5.
//
// The error is a SerializationException when the body is not JSON of the right types,
// otherwise a ValidationException with all violations. For forms see decodeForm; the
// errors are then a MalformedInput or MalformedQueryString, and a ValidationError.
// Inputs in REST-JSON are not in one place: see DecodeRequest.
func DecodeInput(op *api.Operation, input []byte) (any, *api.Error) {
	in := reflect.New(op.Input.Type)
	decode := decode
	if op.Service.Protocol == api.Query {
		decode = decodeForm
	}
	missing, err := decode(op.Input, input, in.Elem())
	if err != nil {
		return nil, err
	}
	if err := validate(op, in.Elem(), missing); err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

// decoder fills Go values from JSON by the shape tables.
type decoder struct {
	scanner
	absences
}

// absences is where a decoder stands, and what it found to be null or absent there.
type absences struct {
	path path
	// missing holds the paths of required members and of elements that are null or
	// absent, which the Go value cannot show.
	missing map[string]bool
}

func decode(sh *api.Shape, body []byte, dst reflect.Value) (map[string]bool, *api.Error) {
	var steps [4]step
	d := decoder{scanner: scanner{data: body}, absences: absences{path: steps[:0]}}
	if err := d.value(sh, dst); err != nil {
		return nil, err
	}
	if d.peek() != 0 || d.pos != len(d.data) {
		return nil, syntaxError()
	}
	return d.missing, nil
}

// maxMissing bounds the memory spent on an input that is refused anyway: past it
// the count in the error text is too low.
const maxMissing = 1000

// noteMissing records that the value at the current path is null or absent.
func (a *absences) noteMissing() {
	if len(a.missing) == maxMissing {
		return
	}
	if a.missing == nil {
		a.missing = map[string]bool{}
	}
	a.missing[a.path.String()] = true
}

// noteRequired records the required members of the structure at the current path
// that are not among given, a bit for each of Fields.
func (a *absences) noteRequired(sh *api.Shape, given uint64) {
	for i := range sh.Fields {
		if f := &sh.Fields[i]; f.Required && given&(1<<i) == 0 {
			a.path = append(a.path, step{name: f.Name})
			a.noteMissing()
			a.path = a.path[:len(a.path)-1]
		}
	}
}

// mismatch is the answer to a value of the wrong JSON type, in the words that
// services of this protocol use; want is the kind with its article. The value is
// checked first, so that what is not JSON at all is told apart.
func (d *decoder) mismatch(want string) *api.Error {
	c := d.peek()
	if !d.skip() {
		return syntaxError()
	}
	switch c {
	case '{':
		return api.SerializationException.Errorf("Start of structure or map found where not expected")
	case '[':
		return api.SerializationException.Errorf("Start of list found where not expected")
	case '"':
		return api.SerializationException.Errorf("STRING_VALUE can not be converted to %s", want)
	case 't':
		return api.SerializationException.Errorf("TRUE_VALUE can not be converted to %s", want)
	case 'f':
		return api.SerializationException.Errorf("FALSE_VALUE can not be converted to %s", want)
	case 'n':
		return api.SerializationException.Errorf("NULL_VALUE can not be converted to %s", want)
	}
	return api.SerializationException.Errorf("NUMBER_VALUE can not be converted to %s", want)
}

// value reads a value that is not null into dst, which has the plain Go type of sh.
func (d *decoder) value(sh *api.Shape, dst reflect.Value) *api.Error {
	switch sh.Kind {
	case api.Structure:
		return d.structure(sh, dst, 0)
	case api.List:
		return d.list(sh, dst)
	case api.Map:
		return d.mapping(sh, dst)
	case api.String:
		s, err := d.stringValue()
		if err != nil {
			return err
		}
		dst.SetString(s)
	case api.Blob:
		b, err := d.blob()
		if err != nil {
			return err
		}
		dst.SetBytes(b)
	case api.Boolean:
		b, err := d.boolean()
		if err != nil {
			return err
		}
		dst.SetBool(b)
	case api.Integer:
		n, err := d.integer(32, "an Integer")
		if err != nil {
			return err
		}
		dst.SetInt(n)
	case api.Long:
		n, err := d.integer(64, "a Long")
		if err != nil {
			return err
		}
		dst.SetInt(n)
	case api.Timestamp:
		t, err := d.timestamp()
		if err != nil {
			return err
		}
		dst.Set(reflect.ValueOf(t))
	default:
		panic("wire: shape " + sh.Name + " has no kind")
	}
	return nil
}

// structure reads a structure of which the members in given, a bit for each of Fields,
// were found elsewhere.
func (d *decoder) structure(sh *api.Shape, dst reflect.Value, given uint64) *api.Error {
	if d.peek() != '{' {
		return d.mismatch("a structure")
	}
	if !d.enter() {
		return syntaxError()
	}
	known := members{given: given}
	if !d.take('}') {
		for {
			if err := d.member(sh, dst, &known); err != nil {
				return err
			}
			if d.take('}') {
				break
			}
			if !d.take(',') {
				return syntaxError()
			}
		}
	}
	d.depth--
	d.noteRequired(sh, known.given)
	return nil
}

// members says which members of a structure were met, by position in Fields;
// descriptions keep structures to 64 members.
type members struct{ seen, given uint64 }

// member reads one name and value of a structure.
func (d *decoder) member(sh *api.Shape, dst reflect.Value, known *members) *api.Error {
	name, plain, ok := d.rawString()
	if !ok || !d.take(':') {
		return syntaxError()
	}
	if !plain {
		name = unescape(nil, name)
	}
	i := fieldIndex(sh, name)
	if i < 0 || sh.Fields[i].Place != api.InBody {
		if !d.skip() {
			return syntaxError()
		}
		return nil
	}
	f := &sh.Fields[i]
	if known.seen&(1<<i) != 0 {
		return api.SerializationException.Errorf("Member %s is given more than once", f.Name)
	}
	known.seen |= 1 << i
	if d.peek() == 'n' {
		if !d.literal("null") {
			return syntaxError()
		}
		return nil
	}
	known.given |= 1 << i
	d.path = append(d.path, step{name: f.Name})
	if err := d.field(f.Shape, dst.Field(f.Index)); err != nil {
		return err
	}
	d.path = d.path[:len(d.path)-1]
	return nil
}

func fieldIndex(sh *api.Shape, name []byte) int {
	for i := range sh.Fields {
		if string(name) == sh.Fields[i].Name {
			return i
		}
	}
	return -1
}

// field reads a member. The cases spell out the types of most members; they save the
// reflection that would otherwise cost more than the parsing.
func (d *decoder) field(sh *api.Shape, dst reflect.Value) *api.Error {
	switch p := dst.Addr().Interface().(type) {
	case *string:
		s, err := d.stringValue()
		*p = s
		return err
	case **string:
		s, err := d.stringValue()
		*p = &s
		return err
	case **api.SensitiveString:
		s, err := d.stringValue()
		*p = (*api.SensitiveString)(&s)
		return err
	case **bool:
		b, err := d.boolean()
		*p = &b
		return err
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	return d.value(sh, dst)
}

func (d *decoder) list(sh *api.Shape, dst reflect.Value) *api.Error {
	if d.peek() != '[' {
		return d.mismatch("a list")
	}
	if !d.enter() {
		return syntaxError()
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, 0))
	if d.take(']') {
		d.depth--
		return nil
	}
	for n := 0; ; n++ {
		dst.Grow(1)
		dst.SetLen(n + 1)
		d.path = append(d.path, step{index: n + 1})
		if d.peek() == 'n' {
			if !d.literal("null") {
				return syntaxError()
			}
			d.noteMissing()
		} else if err := d.value(sh.Elem, dst.Index(n)); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
		if d.take(']') {
			d.depth--
			return nil
		}
		if !d.take(',') {
			return syntaxError()
		}
	}
}

func (d *decoder) mapping(sh *api.Shape, dst reflect.Value) *api.Error {
	if d.peek() != '{' {
		return d.mismatch("a map")
	}
	if !d.enter() {
		return syntaxError()
	}
	dst.Set(reflect.MakeMap(dst.Type()))
	if d.take('}') {
		d.depth--
		return nil
	}
	for {
		key, ok := d.str()
		if !ok || !d.take(':') {
			return syntaxError()
		}
		k := reflect.ValueOf(key)
		if dst.MapIndex(k).IsValid() {
			return api.SerializationException.Errorf("Map key is given more than once")
		}
		v := reflect.New(dst.Type().Elem()).Elem()
		d.path = append(d.path, step{name: key, key: true})
		if d.peek() == 'n' {
			if !d.literal("null") {
				return syntaxError()
			}
			d.noteMissing()
		} else if err := d.value(sh.Elem, v); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
		dst.SetMapIndex(k, v)
		if d.take('}') {
			d.depth--
			return nil
		}
		if !d.take(',') {
			return syntaxError()
		}
	}
}

func (d *decoder) stringValue() (string, *api.Error) {
	if d.peek() != '"' {
		return "", d.mismatch("a String")
	}
	s, ok := d.str()
	if !ok {
		return "", syntaxError()
	}
	return s, nil
}

// blob reads base64 in the standard alphabet, padded, in its one canonical form.
func (d *decoder) blob() ([]byte, *api.Error) {
	if d.peek() != '"' {
		return nil, d.mismatch("a Blob")
	}
	raw, plain, ok := d.rawString()
	if !ok {
		return nil, syntaxError()
	}
	if !plain {
		// Some encoders write / as \/.
		raw = unescape(nil, raw)
	}
	for _, c := range raw {
		if c == '\n' || c == '\r' {
			return nil, api.SerializationException.Errorf("Blob is not valid base64")
		}
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Strict().Decode(out, raw)
	if err != nil {
		// The cause names an offset in what may be a secret; it is not passed on.
		return nil, api.SerializationException.Errorf("Blob is not valid base64")
	}
	return out[:n], nil
}

func (d *decoder) boolean() (bool, *api.Error) {
	switch d.peek() {
	case 't':
		if d.literal("true") {
			return true, nil
		}
		return false, syntaxError()
	case 'f':
		if d.literal("false") {
			return false, nil
		}
		return false, syntaxError()
	}
	return false, d.mismatch("a Boolean")
}

// maxNumberBytes bounds numbers that need arithmetic: the longest float64 written in
// full is shorter.
const maxNumberBytes = 400

func (d *decoder) integer(bits int, want string) (int64, *api.Error) {
	c := d.peek()
	if c != '-' && (c < '0' || c > '9') {
		return 0, d.mismatch(want)
	}
	text, whole, ok := d.number()
	if !ok {
		return 0, syntaxError()
	}
	if whole {
		if n, err := strconv.ParseInt(string(text), 10, bits); err == nil {
			return n, nil
		}
	} else if r, ok := ratOf(text); ok && r.IsInt() && r.Num().IsInt64() {
		n := r.Num().Int64()
		if bits == 64 || int64(int32(n)) == n {
			return n, nil
		}
	}
	return 0, api.SerializationException.Errorf("NUMBER_VALUE can not be converted to %s", want)
}

// ratOf is the exact value of a number with fraction or exponent. Exponents that
// would make it huge are refused before any arithmetic.
func ratOf(text []byte) (*big.Rat, bool) {
	if len(text) > maxNumberBytes {
		return nil, false
	}
	for i, c := range text {
		if c == 'e' || c == 'E' {
			exp, err := strconv.Atoi(string(text[i+1:]))
			if err != nil || exp > 30 || exp < -30 {
				return nil, false
			}
		}
	}
	return new(big.Rat).SetString(string(text))
}

// Timestamps outside these seconds (years 1 to 9999) are refused.
const (
	minUnixSeconds = -62135596800
	maxUnixSeconds = 253402300799
)

// timestamp reads seconds since 1970, keeping milliseconds.
func (d *decoder) timestamp() (time.Time, *api.Error) {
	c := d.peek()
	if c != '-' && (c < '0' || c > '9') {
		return time.Time{}, d.mismatch("a Timestamp")
	}
	text, _, ok := d.number()
	if !ok {
		return time.Time{}, syntaxError()
	}
	bad := api.SerializationException.Errorf("NUMBER_VALUE can not be converted to a Timestamp")
	r, ok := ratOf(text)
	if !ok {
		return time.Time{}, bad
	}
	ms := new(big.Int)
	r.Mul(r, big.NewRat(1000, 1))
	// Quo cuts towards zero, as the encoder does.
	ms.Quo(r.Num(), r.Denom())
	if !ms.IsInt64() || ms.Int64() < minUnixSeconds*1000 || ms.Int64() > maxUnixSeconds*1000+999 {
		return time.Time{}, bad
	}
	return time.UnixMilli(ms.Int64()).UTC(), nil
}
