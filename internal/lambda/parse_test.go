package lambda_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/lambda"
)

func TestParseName(t *testing.T) {
	for _, tt := range []struct {
		text string
		want lambda.Name
		ok   bool
	}{
		{"f", lambda.Name{Function: "f"}, true},
		{"f:live", lambda.Name{Function: "f", Qualifier: "live"}, true},
		{"f:$LATEST", lambda.Name{Function: "f", Qualifier: "$LATEST"}, true},
		{"function", lambda.Name{Function: "function"}, true},
		{"function:f", lambda.Name{Function: "f"}, true},
		{"function:function:1", lambda.Name{Function: "function", Qualifier: "1"}, true},
		{"123456789012:function:f", lambda.Name{Account: "123456789012", Function: "f"}, true},
		{"123456789012:f", lambda.Name{Account: "123456789012", Function: "f"}, true},
		{"eu-west-1:f:1", lambda.Name{Region: "eu-west-1", Function: "f", Qualifier: "1"}, true},
		{"123456789012", lambda.Name{Function: "123456789012"}, true},
		{"eu-west-1:123456789012:function:f:1", lambda.Name{Region: "eu-west-1", Account: "123456789012", Function: "f", Qualifier: "1"}, true},
		{"arn:aws:lambda:eu-west-1:123456789012:function:f", lambda.Name{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Function: "f"}, true},
		{"arn:aws:lambda:us-gov-west-1:123456789012:function:f:1", lambda.Name{Partition: "aws", Region: "us-gov-west-1", Account: "123456789012", Function: "f", Qualifier: "1"}, true},
		{"arn:aws:lambda:eu-west-1:123456789012:function", lambda.Name{}, false},
		{"arn:aws:lambda:123456789012:function:f", lambda.Name{}, false},
		{"arn:aws:lambda:f", lambda.Name{}, false},
		{"arn:aws:s3:eu-west-1:123456789012:function:f", lambda.Name{}, false},
		{"arn:aws", lambda.Name{}, false},
		{"", lambda.Name{}, false},
		{":", lambda.Name{}, false},
		{"a:b:c", lambda.Name{}, false},
		{"arn:aws:lambda:eu-west-1:123456789012:function:f:1:2", lambda.Name{}, false},
	} {
		got, ok := lambda.ParseName(tt.text)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("ParseName(%q) = %+v, %v, want %+v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzParseName checks that a name that is read says what was written, and no more.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{"f", "f:1", "123456789012:function:f", "eu-west-1:f", "arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST", "function:", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := lambda.ParseName(s)
		if !ok {
			return
		}
		if n.Function == "" || strings.Contains(n.Function+n.Qualifier, ":") {
			t.Fatalf("%q is read as %+v", s, n)
		}
		rest := s
		for _, part := range []string{n.Partition, n.Region, n.Account, n.Function, n.Qualifier} {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Fatalf("%q is read as %+v", s, n)
			}
			rest = after
		}
	})
}

// entries makes an archive of entries as they are written.
func entries(t testing.TB, headers ...*zip.FileHeader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, h := range headers {
		e, err := w.CreateRaw(h)
		if err == nil && !strings.HasSuffix(h.Name, "/") {
			_, err = e.Write(make([]byte, h.CompressedSize64))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plain(name string) *zip.FileHeader { return &zip.FileHeader{Name: name, Method: zip.Store} }

func TestCheckArchive(t *testing.T) {
	const unzip = "Could not unzip uploaded file."
	link := plain("link")
	link.SetMode(fs.ModeSymlink | 0o777)
	large := &zip.FileHeader{Name: "a", Method: zip.Deflate, UncompressedSize64: 250<<20 + 1}
	huge := &zip.FileHeader{Name: "a", Method: zip.Deflate, UncompressedSize64: 1 << 63}
	encrypted := plain("a")
	encrypted.Flags = 1
	other := &zip.FileHeader{Name: "a", Method: 93}
	many := make([]*zip.FileHeader, 20_001)
	for i := range many {
		many[i] = plain(fmt.Sprint(i))
	}
	for _, tt := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"plain", handler(t), ""},
		{"empty", entries(t), ""},
		{"folders", entries(t, plain("lib/"), plain("lib/a.py"), plain("lib/ü.py")), ""},
		{"nothing", []byte{}, unzip},
		{"text", []byte("PK hello"), unzip},
		{"cut off", handler(t)[:40], unzip},
		{"absolute", entries(t, plain("/etc/passwd")), unzip},
		{"up", entries(t, plain("../a")), unzip},
		{"up in the middle", entries(t, plain("a/../../b")), unzip},
		{"backslash", entries(t, plain(`a\..\b`)), unzip},
		{"dot", entries(t, plain(".")), unzip},
		{"slash", entries(t, plain("/")), unzip},
		{"NUL", entries(t, plain("a\x00b")), unzip},
		{"no UTF-8", entries(t, plain("a\xff")), unzip},
		{"twice", entries(t, plain("a"), plain("a")), unzip},
		{"encrypted", entries(t, encrypted), unzip},
		{"other method", entries(t, other), unzip},
		{"link", entries(t, link), "The archive holds link, which is neither a file nor a folder"},
		{"large inside", entries(t, large), "Unzipped size must be smaller than 262144000 bytes"},
		{"huge inside", entries(t, huge), "Unzipped size must be smaller than 262144000 bytes"},
		{"many", entries(t, many...), "The archive must have fewer than"},
		{"too large", make([]byte, lambda.MaxZipBytes+1), "Zipped size must be smaller than 10485760 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := lambda.CheckArchive(tt.archive)
			if tt.want == "" && err != nil || tt.want != "" && !strings.Contains(shown(err), tt.want) {
				t.Errorf("CheckArchive() = %v, want %q", err, tt.want)
			}
		})
	}
	if lambda.HasFiles(entries(t, plain("a/"))) || !lambda.HasFiles(handler(t)) || lambda.HasFiles(nil) {
		t.Error("HasFiles tells files from folders wrongly")
	}
}

// FuzzCheckArchive checks that what is accepted can be unpacked below a folder.
func FuzzCheckArchive(f *testing.F) {
	f.Add(handler(f))
	f.Add(entries(f))
	f.Add(entries(f, plain("lib/"), plain("lib/a.py")))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		if err := lambda.CheckArchive(archive); err != nil {
			return
		}
		r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		for _, e := range r.File {
			if !filepath.IsLocal(e.Name) {
				t.Fatalf("accepted with the entry %q", e.Name)
			}
		}
		lambda.HasFiles(archive)
	})
}
