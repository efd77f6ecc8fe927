package wire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

// loopback answers the SDK's requests with router and codec.
type loopback struct {
	router *wire.Router
	op     *api.Operation // what the request named
	in     any            // what was read
	out    any            // what is answered, unless
	err    *api.Error     // is set
	front  bool
}

func (l *loopback) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	op, refusal := l.router.Route(req, body)
	if refusal != nil {
		return nil, refusal
	}
	in, refusal := wire.Decode(op.Input, body)
	if refusal != nil {
		return nil, refusal
	}
	l.op, l.in = op, in
	status, contentType, answer := 200, wire.ContentTypeJSON11, []byte(nil)
	if l.err != nil {
		status, contentType, answer = wire.RenderError(op, l.err, l.front)
	} else {
		answer = wire.AppendOutput(nil, op, l.out)
	}
	return &http.Response{
		StatusCode: status, Request: req, Body: io.NopCloser(bytes.NewReader(answer)),
		Header: http.Header{"Content-Type": {contentType}, wire.HeaderRequestID: {"EXAMPLE1"}},
	}, nil
}

func newClient(l *loopback) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: "eu-west-1", HTTPClient: l, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
}

// TestSDKUnderstandsUs sends random inputs of every operation with the published
// client, and answers with random outputs. What either side reads must be what the
// other one wrote.
func TestSDKUnderstandsUs(t *testing.T) {
	l := &loopback{router: newRouter(t)}
	client := reflect.ValueOf(newClient(l))
	for _, op := range smapi.Service.Operations {
		t.Run(op.Name, func(t *testing.T) {
			method := client.MethodByName(op.Name)
			rapid.Check(t, func(t *rapid.T) {
				in, out := reflect.New(op.Input.Type), reflect.New(op.Output.Type)
				fill(t, op.Input, in.Elem())
				fill(t, op.Output, out.Elem())
				for _, f := range op.Input.Fields {
					fv := in.Elem().Field(f.Index)
					if f.Token {
						// The client would make one up.
						fv.Set(reflect.ValueOf(ptr("EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE")))
					}
					if f.Required && fv.Kind() == reflect.Slice && fv.IsNil() {
						fv.Set(reflect.MakeSlice(fv.Type(), 0, 0))
					}
				}
				l.op, l.in, l.out = nil, nil, out.Interface()

				theirIn := reflect.New(method.Type().In(1).Elem())
				toSDK(op.Input, in.Elem(), theirIn.Elem())
				results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), theirIn})
				if err, _ := results[1].Interface().(error); err != nil {
					t.Fatal(err)
				}
				if l.op != op {
					t.Fatalf("the request for %s was read as one for %v", op.Name, l.op)
				}
				if diff := same(withoutZeros(op.Input, in.Elem()), withoutZeros(op.Input, reflect.ValueOf(l.in).Elem())); diff != "" {
					t.Fatalf("input (-sent +read):\n%s", diff)
				}
				theirOut := reflect.New(results[0].Type().Elem())
				toSDK(op.Output, out.Elem(), theirOut.Elem())
				for _, f := range op.Output.Fields {
					got, want := results[0].Elem().FieldByName(f.Name), theirOut.Elem().FieldByName(f.Name)
					if diff := cmp.Diff(want.Interface(), got.Interface(), sdkValues...); diff != "" {
						t.Fatalf("output %s (-sent +read):\n%s", f.Name, diff)
					}
				}
			})
		})
	}
}

// sdkValues compares the SDK's types. It reads times through a float64 and may lose
// a millisecond.
var sdkValues = []cmp.Option{
	cmpopts.EquateApproxTime(time.Millisecond),
	cmp.Exporter(func(reflect.Type) bool { return true }),
}

// toSDK copies a value of ours into the SDK's type for the same shape.
func toSDK(sh *api.Shape, ours, theirs reflect.Value) {
	if ours.Kind() == reflect.Pointer {
		if ours.IsNil() {
			return
		}
		ours = ours.Elem()
	}
	if theirs.Kind() == reflect.Pointer {
		theirs.Set(reflect.New(theirs.Type().Elem()))
		theirs = theirs.Elem()
	}
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			toSDK(f.Shape, ours.Field(f.Index), theirs.FieldByName(f.Name))
		}
	case api.List:
		if ours.IsNil() {
			return
		}
		theirs.Set(reflect.MakeSlice(theirs.Type(), ours.Len(), ours.Len()))
		for i := range ours.Len() {
			toSDK(sh.Elem, ours.Index(i), theirs.Index(i))
		}
	case api.Map:
		if ours.IsNil() {
			return
		}
		theirs.Set(reflect.MakeMap(theirs.Type()))
		for it := ours.MapRange(); it.Next(); {
			v := reflect.New(theirs.Type().Elem()).Elem()
			toSDK(sh.Elem, it.Value(), v)
			theirs.SetMapIndex(it.Key(), v)
		}
	case api.Timestamp:
		theirs.Set(reflect.ValueOf(ours.Interface().(time.Time)))
	case api.Blob:
		if !ours.IsNil() {
			theirs.SetBytes(ours.Bytes())
		}
	default:
		theirs.Set(ours.Convert(theirs.Type()))
	}
}

// withoutZeros returns a copy in which the values that the SDK cannot send are
// absent: empty enum values and plain members that are zero.
func withoutZeros(sh *api.Shape, v reflect.Value) any {
	out := reflect.New(v.Type())
	out.Elem().Set(v)
	for _, f := range sh.Fields {
		fv := out.Elem().Field(f.Index)
		if fv.Kind() == reflect.Pointer && !fv.IsNil() && (f.Plain || len(f.Shape.Enum) > 0) && fv.Elem().IsZero() {
			fv.SetZero()
		}
		if f.Shape.Kind == api.List && f.Shape.Elem.Kind == api.Structure && fv.Len() > 0 {
			list := reflect.MakeSlice(fv.Type(), fv.Len(), fv.Len())
			for i := range fv.Len() {
				list.Index(i).Set(reflect.ValueOf(withoutZeros(f.Shape.Elem, fv.Index(i))).Elem())
			}
			fv.Set(list)
		}
	}
	return out.Interface()
}

// TestSDKUnderstandsErrors sends every code and reads it back with the client.
func TestSDKUnderstandsErrors(t *testing.T) {
	codes := map[*api.Code]bool{
		smapi.AccessDeniedException: true, smapi.ValidationException: true, smapi.ThrottlingException: true,
		smapi.SerializationException: true, api.UnknownOperationException: true,
	}
	for _, op := range smapi.Service.Operations {
		for _, c := range op.Errors {
			codes[c] = true
		}
	}
	l := &loopback{router: newRouter(t)}
	client := newClient(l)
	for c := range codes {
		for _, l.front = range []bool{false, true} {
			l.err = c.Errorf("a \"text\" for %s", c.Name)
			_, err := client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: ptr("a")})
			got, ok := errors.AsType[smithy.APIError](err)
			if !ok || got.ErrorCode() != c.Name || got.ErrorMessage() != l.err.Message {
				t.Errorf("front end %v: the client reads %v, want %v", l.front, err, l.err)
			}
		}
	}
}
