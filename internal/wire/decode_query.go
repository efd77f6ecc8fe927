package wire

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/api"
)

// formDecoder fills Go values from the parameters of a form by the shape tables. A
// value's parameters are those whose names begin with the value's own: the decoder
// goes down the shapes and never makes more of a list than there are parameters.
type formDecoder struct{ absences }

// decodeForm reads the input of a Query operation.
//
//   - Parameters that name no member are ignored, as AWS does. What names a member
//     must be of its kind.
//   - A parameter given twice is refused, as in JSON.
//   - Lists and maps are numbered from 1 without gaps, in any order. AWS's clients
//     write an empty list as its name with an empty value.
func decodeForm(sh *api.Shape, text []byte, dst reflect.Value) (map[string]bool, *api.Error) {
	params, err := parseForm(text)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	var d formDecoder
	if err := d.structure(sh, dst, params, -1); err != nil {
		return nil, err
	}
	return d.missing, nil
}

// segments calls fn for every next part of the names of params, which are equal up
// to at, a separator's place; end is where that part ends.
func segments(params []param, at int, fn func(segment string, params []param, end int) *api.Error) *api.Error {
	for len(params) > 0 {
		name := params[0].name
		end := len(name)
		if i := strings.IndexByte(name[at+1:], separator); i >= 0 {
			end = at + 1 + i
		}
		n := 1
		for n < len(params) && strings.HasPrefix(params[n].name, name[:end]) &&
			(len(params[n].name) == end || params[n].name[end] == separator) {
			n++
		}
		if err := fn(name[at+1:end], params[:n], end); err != nil {
			return err
		}
		params = params[n:]
	}
	return nil
}

// split parts the parameter that is named exactly, if there is one, from those of
// members and elements below it.
func (d *formDecoder) split(params []param, end int) (own *param, below []param, err *api.Error) {
	if len(params[0].name) > end {
		return nil, params, nil
	}
	if len(params) > 1 && len(params[1].name) == end {
		return nil, nil, api.MalformedInput.Errorf("Parameter %s is given more than once", d.path)
	}
	return &params[0], params[1:], nil
}

func (d *formDecoder) structure(sh *api.Shape, dst reflect.Value, params []param, at int) *api.Error {
	var given uint64
	err := segments(params, at, func(segment string, params []param, end int) *api.Error {
		i := fieldIndex(sh, []byte(segment))
		if i < 0 {
			return nil
		}
		given |= 1 << i
		f := &sh.Fields[i]
		d.path = append(d.path, step{name: f.Name})
		target := dst.Field(f.Index)
		if target.Kind() == reflect.Pointer {
			target.Set(reflect.New(target.Type().Elem()))
			target = target.Elem()
		}
		if err := d.value(f.Shape, target, params, end); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
		return nil
	})
	if err != nil {
		return err
	}
	d.noteRequired(sh, given)
	return nil
}

// value reads the parameters, at least one, that are named exactly or below end.
func (d *formDecoder) value(sh *api.Shape, dst reflect.Value, params []param, end int) *api.Error {
	own, below, err := d.split(params, end)
	if err != nil {
		return err
	}
	switch sh.Kind {
	case api.Structure:
		if own != nil {
			return formMismatch("a structure")
		}
		return d.structure(sh, dst, below, end)
	case api.List:
		return d.list(sh, dst, own, below, end)
	case api.Map:
		return d.mapping(sh, dst, own, below, end)
	}
	if own == nil || len(below) > 0 {
		return api.MalformedInput.Errorf("Start of structure or map found where not expected")
	}
	return d.scalar(sh, dst, own.value)
}

func formMismatch(want string) *api.Error {
	return api.MalformedInput.Errorf("STRING_VALUE can not be converted to %s", want)
}

func (d *formDecoder) scalar(sh *api.Shape, dst reflect.Value, text string) *api.Error {
	switch sh.Kind {
	case api.String:
		dst.SetString(text)
	case api.Blob:
		if strings.ContainsAny(text, "\r\n") {
			return api.MalformedInput.Errorf("Blob is not valid base64")
		}
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return api.MalformedInput.Errorf("Blob is not valid base64")
		}
		dst.SetBytes(b)
	case api.Boolean:
		if text != "true" && text != "false" {
			return formMismatch("a Boolean")
		}
		dst.SetBool(text == "true")
	case api.Integer, api.Long:
		bits, want := 32, "an Integer"
		if sh.Kind == api.Long {
			bits, want = 64, "a Long"
		}
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil || text[0] == '+' {
			return formMismatch(want)
		}
		dst.SetInt(n)
	case api.Timestamp:
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.Unix() < minUnixSeconds || t.Unix() > maxUnixSeconds {
			return formMismatch("a Timestamp")
		}
		dst.Set(reflect.ValueOf(t.UTC().Truncate(time.Millisecond)))
	default:
		panic("wire: shape " + sh.Name + " has no kind")
	}
	return nil
}

// element is what a form says of one place in a list or map.
type element struct {
	index  int
	params []param
	end    int
}

// elements returns the numbered parts below a list or map, in order. word is what
// stands between the name and the number.
func (d *formDecoder) elements(word string, own *param, below []param, end int) ([]element, *api.Error) {
	if own != nil {
		if own.value != "" || len(below) > 0 {
			return nil, formMismatch("a list")
		}
		return nil, nil
	}
	var found []element
	err := segments(below, end, func(segment string, params []param, end int) *api.Error {
		if segment != word || len(params[0].name) == end {
			return api.MalformedInput.Errorf("Elements of %s must be named %s.N", d.path, word)
		}
		return segments(params, end, func(segment string, params []param, end int) *api.Error {
			n, err := strconv.Atoi(segment)
			// Numbers have one spelling, so that no two names mean the same element.
			if err != nil || n < 1 || strconv.Itoa(n) != segment {
				return api.MalformedInput.Errorf("Elements of %s must be numbered from 1", d.path)
			}
			found = append(found, element{n, params, end})
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b element) int { return a.index - b.index })
	if len(found) > 0 && found[len(found)-1].index != len(found) {
		return nil, api.MalformedInput.Errorf("Elements of %s must be numbered without gaps", d.path)
	}
	return found, nil
}

func (d *formDecoder) list(sh *api.Shape, dst reflect.Value, own *param, below []param, end int) *api.Error {
	found, err := d.elements("member", own, below, end)
	if err != nil {
		return err
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(found), len(found)))
	for i, e := range found {
		d.path = append(d.path, step{index: e.index})
		if err := d.value(sh.Elem, dst.Index(i), e.params, e.end); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
	}
	return nil
}

func (d *formDecoder) mapping(sh *api.Shape, dst reflect.Value, own *param, below []param, end int) *api.Error {
	found, err := d.elements("entry", own, below, end)
	if err != nil {
		return err
	}
	dst.Set(reflect.MakeMapWithSize(dst.Type(), len(found)))
	for _, e := range found {
		if len(e.params[0].name) == e.end {
			return formMismatch("a map")
		}
		var key *param
		var value element
		err := segments(e.params, e.end, func(segment string, params []param, end int) *api.Error {
			switch segment {
			case "key":
				own, below, err := d.split(params, end)
				if err != nil {
					return err
				}
				if own == nil || len(below) > 0 {
					return api.MalformedInput.Errorf("Start of structure or map found where not expected")
				}
				key = own
			case "value":
				value = element{params: params, end: end}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if key == nil {
			return api.MalformedInput.Errorf("Entry %d of %s has no key", e.index, d.path)
		}
		k := reflect.ValueOf(key.value)
		if dst.MapIndex(k).IsValid() {
			return api.MalformedInput.Errorf("Map key is given more than once")
		}
		v := reflect.New(dst.Type().Elem()).Elem()
		d.path = append(d.path, step{name: key.value, key: true})
		if value.params == nil {
			d.noteMissing()
		} else if err := d.value(sh.Elem, v, value.params, value.end); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
		dst.SetMapIndex(k, v)
	}
	return nil
}
