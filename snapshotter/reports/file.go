// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
)

// file is a JSON object in a file, and where its fields are.
type file struct {
	from   io.ReaderAt
	fields []field
}

// field is where the value of a field is: from the end of its name, so with a colon before it, to its end.
type field struct {
	name       string
	start, end int64
	list       bool
}

// last are the fields that are written last: those that can be large, and that people read after the others.
var last = []string{"paths", "effects"}

var errMalformed = errors.New("it is not the JSON of a report")

// index finds the fields of a JSON object.
func index(from io.ReaderAt) (file, error) {
	f := file{from: from}
	dec := json.NewDecoder(io.NewSectionReader(from, 0, 1<<62))
	if err := expect(dec, '{'); err != nil {
		return f, err
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return f, err
		}
		one := field{name: fmt.Sprint(t), start: dec.InputOffset()}
		if one.list, err = skip(dec); err != nil {
			return f, err
		}
		one.end = dec.InputOffset()
		f.fields = append(f.fields, one)
	}
	if err := expect(dec, '}'); err != nil {
		return f, err
	}
	slices.SortStableFunc(f.fields, func(a, b field) int {
		return slices.Index(last, a.name) - slices.Index(last, b.name)
	})
	return f, nil
}

func expect(dec *json.Decoder, delim json.Delim) error {
	t, err := dec.Token()
	if err == nil && t != delim {
		err = errMalformed
	}
	return err
}

// skip passes over a value, of a list one element at a time, and reports whether it is a list.
func skip(dec *json.Decoder) (list bool, err error) {
	t, err := dec.Token()
	if err != nil || t != json.Delim('[') && t != json.Delim('{') {
		return false, err
	}
	for dec.More() {
		if t == json.Delim('{') {
			if _, err := dec.Token(); err != nil { // the name
				return false, err
			}
		}
		if err := dec.Decode(new(json.RawMessage)); err != nil {
			return false, err
		}
	}
	_, err = dec.Token()
	return t == json.Delim('['), err
}

// section returns the value of a field, with the colon before it.
func (f file) section(one field) *io.SectionReader {
	return io.NewSectionReader(f.from, one.start, one.end-one.start)
}

// copy writes the whole object.
func (f file) copy(w io.Writer) error {
	return f.each(w, func(one field) error {
		_, err := io.Copy(w, f.section(one))
		return err
	})
}

// each writes the object, with fn for the values and the colons before them.
func (f file) each(w io.Writer, fn func(one field) error) error {
	for i, one := range f.fields {
		name, err := json.Marshal(one.name)
		if err != nil {
			return err
		}
		before := map[bool]string{true: "{", false: ","}[i == 0]
		if _, err := fmt.Fprintf(w, "%s%s", before, name); err != nil {
			return err
		}
		if err := fn(one); err != nil {
			return err
		}
	}
	end := map[bool]string{true: "{}", false: "}"}[len(f.fields) == 0]
	_, err := io.WriteString(w, end)
	return err
}

// filter writes the object with, of each list, only the elements that are about a path.
func (f file) filter(w io.Writer, path string) error {
	return f.each(w, func(one field) error {
		if !one.list {
			_, err := io.Copy(w, f.section(one))
			return err
		}
		if _, err := io.WriteString(w, ":["); err != nil {
			return err
		}
		separator := ""
		err := f.elements(one, func(element json.RawMessage) error {
			if !about(element, path) {
				return nil
			}
			_, err := fmt.Fprintf(w, "%s%s", separator, element)
			separator = ","
			return err
		})
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, "]")
		return err
	})
}

// elements calls fn with the elements of a list, one after the other.
func (f file) elements(one field, fn func(json.RawMessage) error) error {
	dec, err := f.decoder(one)
	if err == nil {
		err = expect(dec, '[')
	}
	if err != nil {
		return err
	}
	for dec.More() {
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return err
		}
		if err := fn(element); err != nil {
			return err
		}
	}
	return nil
}

// decoder returns one that is at the value of a field.
func (f file) decoder(one field) (*json.Decoder, error) {
	r := bufio.NewReader(f.section(one))
	if _, err := r.ReadString(':'); err != nil {
		return nil, errMalformed
	}
	return json.NewDecoder(r), nil
}

// about reports whether an element of a list is about a path.
func about(element json.RawMessage, path string) bool {
	var e struct {
		Path      *string `json:"path"`
		PathBytes []byte  `json:"path_bytes"`
	}
	// An element without a path is about none.
	if err := json.Unmarshal(element, &e); err != nil || e.Path == nil {
		return false
	}
	if len(e.PathBytes) > 0 {
		return string(e.PathBytes) == path
	}
	return *e.Path == path
}

// path returns what is said about a path.
func (f file) path(path string) (p servicing.PathReport, found bool, err error) {
	for _, one := range f.fields {
		if one.name != "paths" || !one.list {
			continue
		}
		err = f.elements(one, func(element json.RawMessage) error {
			if found || !about(element, path) {
				return nil
			}
			found = true
			return json.Unmarshal(element, &p)
		})
	}
	return p, found, err
}

// value reads the value of a field, if there is such a field.
func (f file) value(name string, v any) error {
	for _, one := range f.fields {
		if one.name != name {
			continue
		}
		dec, err := f.decoder(one)
		if err != nil {
			return err
		}
		return dec.Decode(v)
	}
	return nil
}
