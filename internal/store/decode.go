package store

import (
	"encoding"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

// decoder reads records of one type out of the deterministic CBOR that this package
// writes. A mirror of half a million secrets is some two million records, and the
// general decoder makes an allocation of every text in them. For packed tables this one
// makes none: texts and byte strings are where the record is. Otherwise it makes one of all
// texts of a record, and one of all its byte strings, and keeps a text that many records
// share (an account, a region, the ARN of a key, a label) once.
//
// It decides nothing: whatever is not exactly what the encoder makes of a record, be it
// a field too many, another order, or a length that does not fit, it leaves to the
// general decoder, which accepts or refuses it. A test compares the two.
//
// The texts that it keeps are those of names, labels and the like, as the mirror holds
// them anyway; values of secrets are sealed within the records.
type decoder struct {
	shape *shape
	parts sync.Pool // of *parts
}

// parts is what one record is made of while it is being read: where in the body its
// texts and byte strings are, and which fields they belong in.
type parts struct {
	body         []byte
	whole        bool // body is kept, and the record may point into it
	texts, blobs []part
	textBytes    int
	blobBytes    int
}

type part struct {
	v        reflect.Value
	from, to int
}

type shapeKind uint8

const (
	boolShape shapeKind = iota
	intShape
	uintShape
	textShape
	blobShape     // []byte
	fixedShape    // [n]byte
	textsShape    // []string, or of a named kind of string
	listShape     // any other slice
	mapShape      // of texts or whole numbers
	structShape   // with integer keys
	optionalShape // pointer
)

// shape is how the values of a Go type look in CBOR.
type shape struct {
	kind   shapeKind
	fields []shapeField // of structShape, by ascending key
	elem   *shape       // of listShape, mapShape and optionalShape
	key    *shape       // of mapShape
	shared *texts       // of textShape, and of textsShape, for the whole list
}

type shapeField struct {
	key   uint64
	index int
	shape *shape
}

// newDecoder returns nil for a type that the general decoder has to read.
func newDecoder(t reflect.Type) *decoder {
	sh := shapeOf(t, 0)
	if sh == nil || sh.kind != structShape {
		return nil
	}
	return &decoder{shape: sh}
}

// maxShapeDepth also ends types that contain themselves.
const maxShapeDepth = 8

var (
	unmarshalsCBOR   = reflect.TypeFor[cbor.Unmarshaler]()
	unmarshalsBinary = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

func shapeOf(t reflect.Type, depth int) *shape {
	if depth > maxShapeDepth {
		return nil
	}
	if p := reflect.PointerTo(t); p.Implements(unmarshalsCBOR) || p.Implements(unmarshalsBinary) {
		return nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return &shape{kind: boolShape}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &shape{kind: intShape}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &shape{kind: uintShape}
	case reflect.String:
		return &shape{kind: textShape, shared: new(texts)}
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &shape{kind: fixedShape}
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &shape{kind: blobShape}
		}
		elem := shapeOf(t.Elem(), depth+1)
		switch {
		case elem == nil:
			return nil
		case elem.kind == textShape:
			return &shape{kind: textsShape, elem: elem, shared: new(texts)}
		}
		return &shape{kind: listShape, elem: elem}
	case reflect.Map:
		key, elem := shapeOf(t.Key(), depth+1), shapeOf(t.Elem(), depth+1)
		// Elements of a map cannot be filled in later, as texts within others are.
		if key == nil || elem == nil || !key.scalar() || !elem.scalar() {
			return nil
		}
		return &shape{kind: mapShape, key: key, elem: elem}
	case reflect.Pointer:
		if elem := shapeOf(t.Elem(), depth+1); elem != nil && elem.kind == structShape {
			return &shape{kind: optionalShape, elem: elem}
		}
	case reflect.Struct:
		return structShapeOf(t, depth)
	}
	return nil
}

func (sh *shape) scalar() bool { return sh.kind <= textShape }

func structShapeOf(t reflect.Type, depth int) *shape {
	sh := &shape{kind: structShape}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			return nil
		}
		if !f.IsExported() {
			continue
		}
		number, options, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		key, err := strconv.ParseUint(number, 10, 32)
		if err != nil || !slices.Contains(strings.Split(options, ","), "keyasint") {
			return nil
		}
		elem := shapeOf(f.Type, depth+1)
		if elem == nil {
			return nil
		}
		sh.fields = append(sh.fields, shapeField{key, i, elem})
	}
	slices.SortFunc(sh.fields, func(a, b shapeField) int { return int(a.key) - int(b.key) })
	return sh
}

// decode reads a record into v, a settable struct of the decoder's type with nothing in
// it. With keep, body never changes again and v may point into it. If decode returns
// false, v holds anything, and the general decoder has to do it.
func (d *decoder) decode(body []byte, v reflect.Value, keep bool) bool {
	p, _ := d.parts.Get().(*parts)
	if p == nil {
		p = new(parts)
	}
	p.body, p.whole = body, keep
	end, ok := p.read(d.shape, 0, v)
	ok = ok && end == len(body)
	if ok {
		p.fill()
	}
	clear(p.texts)
	clear(p.blobs)
	*p = parts{texts: p.texts[:0], blobs: p.blobs[:0]}
	d.parts.Put(p)
	return ok
}

// fill gives the texts and the byte strings of the record their memory.
func (p *parts) fill() {
	if len(p.texts) > 0 {
		var b strings.Builder
		b.Grow(p.textBytes)
		for _, t := range p.texts {
			b.Write(p.body[t.from:t.to])
		}
		all := b.String()
		for _, t := range p.texts {
			n := t.to - t.from
			t.v.SetString(all[:n])
			all = all[n:]
		}
	}
	if len(p.blobs) > 0 {
		all := make([]byte, 0, p.blobBytes)
		for _, t := range p.blobs {
			from := len(all)
			all = append(all, p.body[t.from:t.to]...)
			t.v.SetBytes(all[from:len(all):len(all)])
		}
	}
}

// Major types of CBOR, and its three simple values that records have.
const (
	majorUint  = 0
	majorInt   = 1 // negative
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
)

// head reads the head of an item: its major type and its number, which must be in its
// shortest form.
func (p *parts) head(at int) (major byte, n uint64, next int, ok bool) {
	if at >= len(p.body) {
		return 0, 0, 0, false
	}
	b := p.body[at]
	major, low := b>>5, b&0x1f
	at++
	if low < 24 {
		return major, uint64(low), at, true
	}
	if low > 27 {
		return 0, 0, 0, false
	}
	size := 1 << (low - 24)
	if len(p.body)-at < size {
		return 0, 0, 0, false
	}
	for _, c := range p.body[at : at+size] {
		n = n<<8 | uint64(c)
	}
	// The smallest number that needs so many bytes.
	least := uint64(24)
	if size > 1 {
		least = 1 << (4 * size)
	}
	return major, n, at + size, n >= least
}

// span reads the head of a string and says where it lies.
func (p *parts) span(at int, want byte) (from, to int, ok bool) {
	major, n, from, ok := p.head(at)
	if !ok || major != want || n > uint64(len(p.body)-from) {
		return 0, 0, false
	}
	return from, from + int(n), true
}

// text reads the head of a text.
func (p *parts) text(at int) (from, to int, ok bool) {
	from, to, ok = p.span(at, majorText)
	return from, to, ok && utf8.Valid(p.body[from:to])
}

// view is a text where it stands.
func (p *parts) view(from, to int) string {
	return unsafe.String(unsafe.SliceData(p.body[from:to]), to-from)
}

// count reads the head of an array or map. Each element takes at least a byte, so no
// number makes it reserve more memory than the record is long times a constant.
func (p *parts) count(at int, want byte) (n, next int, ok bool) {
	major, num, next, ok := p.head(at)
	if !ok || major != want || num > uint64(len(p.body)-next) {
		return 0, 0, false
	}
	return int(num), next, true
}

// read reads the item at a place into v and returns the place after it.
func (p *parts) read(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	if at >= len(p.body) {
		return 0, false
	}
	switch sh.kind {
	case boolShape:
		b := p.body[at]
		v.SetBool(b == cborTrue)
		return at + 1, b == cborTrue || b == cborFalse
	case intShape, uintShape:
		return p.number(sh, at, v)
	case textShape:
		from, to, ok := p.text(at)
		if !ok {
			return 0, false
		}
		if p.whole {
			v.SetString(p.view(from, to))
		} else if s, known := sh.shared.get(p.body[from:to]); known {
			v.SetString(s)
		} else if from < to {
			p.texts = append(p.texts, part{v, from, to})
			p.textBytes += to - from
		}
		return to, true
	case fixedShape:
		from, to, ok := p.span(at, majorBytes)
		if !ok || to-from != v.Len() {
			return 0, false
		}
		copy(v.Bytes(), p.body[from:to])
		return to, true
	case structShape:
		return p.structure(sh, at, v)
	}
	// What is left can be absent.
	if p.body[at] == cborNull {
		return at + 1, true
	}
	switch sh.kind {
	case blobShape:
		from, to, ok := p.span(at, majorBytes)
		if ok && p.whole {
			v.SetBytes(p.body[from:to:to])
		} else if ok {
			p.blobs = append(p.blobs, part{v, from, to})
			p.blobBytes += to - from
		}
		return to, ok
	case textsShape:
		return p.textList(sh, at, v)
	case listShape:
		return p.list(sh, at, v)
	case mapShape:
		return p.mapping(sh, at, v)
	case optionalShape:
		v.Set(reflect.New(v.Type().Elem()))
		return p.structure(sh.elem, at, v.Elem())
	}
	return 0, false
}

func (p *parts) number(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	major, n, next, ok := p.head(at)
	switch {
	case !ok:
		return 0, false
	case sh.kind == uintShape:
		if major != majorUint || v.OverflowUint(n) {
			return 0, false
		}
		v.SetUint(n)
		return next, true
	case n > math.MaxInt64 || major > majorInt:
		return 0, false
	}
	i := int64(n)
	if major == majorInt {
		i = -1 - i
	}
	if v.OverflowInt(i) {
		return 0, false
	}
	v.SetInt(i)
	return next, true
}

// structure reads a map with integer keys, which must ascend.
func (p *parts) structure(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	n, at, ok := p.count(at, majorMap)
	if !ok {
		return 0, false
	}
	left := sh.fields
	for range n {
		major, key, next, ok := p.head(at)
		if !ok || major != majorUint {
			return 0, false
		}
		for len(left) > 0 && left[0].key < key {
			left = left[1:]
		}
		if len(left) == 0 || left[0].key != key {
			return 0, false
		}
		if at, ok = p.read(left[0].shape, next, v.Field(left[0].index)); !ok {
			return 0, false
		}
		left = left[1:]
	}
	return at, true
}

func (p *parts) list(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	n, at, ok := p.count(at, majorArray)
	if !ok {
		return 0, false
	}
	makeList(v, n)
	for i := range n {
		if at, ok = p.read(sh.elem, at, v.Index(i)); !ok {
			return 0, false
		}
	}
	return at, true
}

// textList reads a list of texts. Short ones that many records have, such as the labels
// of a version, are shared as a whole; like all of a record they are not to be modified.
func (p *parts) textList(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	n, next, ok := p.count(at, majorArray)
	if !ok {
		return 0, false
	}
	end := next
	for range n {
		if _, end, ok = p.text(end); !ok {
			return 0, false
		}
	}
	if n > 0 {
		if known, ok := sh.shared.getList(p.body[at:end]); ok {
			v.Set(known)
			return end, true
		}
	}
	makeList(v, n)
	if n > 0 && sh.shared.wants(p.body[at:end]) {
		// What is kept must not lie in the memory of this record's texts.
		for i := range n {
			from, to, _ := p.text(next)
			v.Index(i).SetString(string(p.body[from:to]))
			next = to
		}
		sh.shared.learn(string(p.body[at:end]), v.Slice3(0, n, n))
		return end, true
	}
	for i := range n {
		if next, ok = p.read(sh.elem, next, v.Index(i)); !ok {
			return 0, false
		}
	}
	return end, true
}

func makeList(v reflect.Value, n int) {
	if n == 0 {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // which is not nil
		return
	}
	v.Grow(n)
	v.SetLen(n)
	v.SetCap(n)
}

func (p *parts) mapping(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	n, at, ok := p.count(at, majorMap)
	if !ok {
		return 0, false
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), n))
	key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
	for range n {
		if at, ok = p.scalar(sh.key, at, key); !ok {
			return 0, false
		}
		if at, ok = p.scalar(sh.elem, at, elem); !ok {
			return 0, false
		}
		v.SetMapIndex(key, elem)
	}
	return at, v.Len() == n // or a key came twice
}

// scalar is read for what goes into a map, by value.
func (p *parts) scalar(sh *shape, at int, v reflect.Value) (next int, ok bool) {
	if sh.kind != textShape {
		return p.read(sh, at, v)
	}
	from, to, ok := p.text(at)
	if !ok {
		return 0, false
	}
	if p.whole {
		v.SetString(p.view(from, to))
		return to, true
	}
	s, known := sh.shared.get(p.body[from:to])
	if !known {
		s = string(p.body[from:to])
	}
	v.SetString(s)
	return to, true
}
