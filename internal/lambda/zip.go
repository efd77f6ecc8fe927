package lambda

import (
	"archive/zip"
	"bytes"
	"path"
	"strings"
	"unicode/utf8"

	"arca/internal/api/lambdaapi"
)

// checkArchive looks at the directory of an uploaded archive. Its files are not
// unpacked: what they hold, and whether they are as large as the directory says, is for
// whoever runs them to find out.
func checkArchive(archive []byte) error {
	if len(archive) > maxZipBytes {
		return lambdaapi.InvalidParameterValueException.Errorf("Zipped size must be smaller than %d bytes", maxZipBytes)
	}
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return errUnzip()
	}
	if len(r.File) > maxZipEntries {
		return lambdaapi.InvalidParameterValueException.Errorf("The archive must have fewer than %d entries", maxZipEntries)
	}
	var size uint64
	seen := make(map[string]bool, len(r.File))
	for _, f := range r.File {
		if !plainPath(f.Name) || seen[f.Name] || f.Flags&1 != 0 || f.Method != zip.Store && f.Method != zip.Deflate {
			return errUnzip()
		}
		if kind := f.Mode().Type(); kind != 0 && !f.Mode().IsDir() {
			return lambdaapi.InvalidParameterValueException.Errorf("The archive holds %s, which is neither a file nor a folder", f.Name)
		}
		seen[f.Name] = true
		if f.UncompressedSize64 > maxUnzippedBytes {
			size = maxUnzippedBytes
		}
		if size += f.UncompressedSize64; size > maxUnzippedBytes {
			return lambdaapi.InvalidParameterValueException.Errorf("Unzipped size must be smaller than %d bytes", maxUnzippedBytes)
		}
	}
	return nil
}

// hasFiles reports whether an archive that was checked has a file.
func hasFiles(archive []byte) bool {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return false
	}
	for _, f := range r.File {
		if !f.Mode().IsDir() {
			return true
		}
	}
	return false
}

func errUnzip() error {
	return lambdaapi.InvalidParameterValueException.Errorf("Could not unzip uploaded file. Please check your file, then try to upload again.")
}

// plainPath reports whether the name of an entry stays below the folder it is unpacked
// in, on every system, and says what it means.
func plainPath(name string) bool {
	p := strings.TrimSuffix(name, "/")
	return p != "" && len(p) <= 1024 && utf8.ValidString(p) && !strings.ContainsAny(p, "\\\x00") &&
		path.Clean(p) == p && p != ".." && !strings.HasPrefix(p, "../") && p[0] != '/' && p != "."
}
