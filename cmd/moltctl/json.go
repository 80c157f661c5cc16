// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// escaper passes JSON on with every character that is not printable escaped: names from inside a container may hold
// those that a terminal obeys. Outside of its texts, JSON is ASCII.
type escaper struct {
	w    io.Writer
	rest []byte // the beginning of a character
}

// Write implements io.Writer.
func (e *escaper) Write(data []byte) (int, error) {
	text := append(e.rest, data...)
	e.rest = nil
	var b strings.Builder
	for len(text) > 0 {
		if !utf8.FullRune(text) {
			e.rest = append([]byte{}, text...)
			break
		}
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case r < utf8.RuneSelf && r != 0x7f, unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteRune(r)
		case utf16.RuneLen(r) == 2:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(e.w, b.String()); err != nil {
		return 0, err
	}
	return len(data), nil
}

// copyJSON prints a document of the engine as it comes, with paths as they are shown to programs, and ends the line.
func copyJSON(w io.Writer, document io.Reader) error {
	out := bufio.NewWriter(&escaper{w: w})
	if err := copyDocument(out, document); err != nil {
		return errors.Join(err, out.Flush())
	}
	return errors.Join(out.WriteByte('\n'), out.Flush())
}

func printJSON(w io.Writer, m proto.Message) error {
	text, err := asJSON(m)
	if err != nil {
		return err
	}
	_, err = io.WriteString(&escaper{w: w}, text+"\n")
	return err
}

// printObject prints what a command says for itself, without an answer of the daemon.
func printObject(w io.Writer, v any) error {
	encoder := json.NewEncoder(&escaper{w: w})
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// document writes an answer of lists alone as one JSON object, part by part. In memory it holds the last element of a
// list: the next part may go on with it.
type document struct {
	w    io.Writer
	list protoreflect.FieldDescriptor // the one that is being written
	done map[protoreflect.Name]bool
	last proto.Message
	any  bool // the list has an element
}

func newDocument(w io.Writer) *document {
	return &document{w: &escaper{w: w}, done: map[protoreflect.Name]bool{}}
}

var errOrder = errors.New("the daemon's answer is not in order")

// add writes a part.
func (d *document) add(part proto.Message) error {
	m := part.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !m.Has(field) {
			continue
		}
		if err := d.begin(field); err != nil {
			return err
		}
		list := m.Get(field).List()
		for j := range list.Len() {
			if err := d.element(list.Get(j)); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin begins a list, if it is not the one that is being written.
func (d *document) begin(field protoreflect.FieldDescriptor) error {
	if d.list == field {
		return nil
	}
	if !field.IsList() || d.done[field.Name()] {
		return errOrder
	}
	if err := d.end(); err != nil {
		return err
	}
	before := map[bool]string{true: "{", false: ","}[len(d.done) == 0]
	d.list, d.any, d.done[field.Name()] = field, false, true
	_, err := fmt.Fprintf(d.w, "%s\n  %q: [", before, field.Name())
	return err
}

// end ends the list that is being written, if there is one.
func (d *document) end() error {
	if d.list == nil {
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	end := map[bool]string{true: "\n  ]", false: "]"}[d.any]
	_, err := io.WriteString(d.w, end)
	return err
}

func (d *document) element(v protoreflect.Value) error {
	if d.list.Message() == nil {
		text, err := json.Marshal(v.Interface())
		if err != nil {
			return err
		}
		return d.write(string(text))
	}
	m := v.Message().Interface()
	if d.last != nil && api.Continues(d.last, m) {
		proto.Merge(d.last, m)
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.last = m
	return nil
}

// flush writes the last element.
func (d *document) flush() error {
	if d.last == nil {
		return nil
	}
	text, err := asJSON(d.last)
	if err != nil {
		return err
	}
	d.last = nil
	return d.write(text)
}

func (d *document) write(element string) error {
	before := map[bool]string{true: ",", false: ""}[d.any]
	d.any = true
	_, err := fmt.Fprintf(d.w, "%s\n    %s", before, strings.ReplaceAll(element, "\n", "\n    "))
	return err
}

// close ends the object, with the lists of an answer that had no element.
func (d *document) close(empty proto.Message) error {
	fields := empty.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); !d.done[field.Name()] {
			if err := d.begin(field); err != nil {
				return err
			}
		}
	}
	if err := d.end(); err != nil {
		return err
	}
	_, err := io.WriteString(d.w, "\n}\n")
	return err
}

// eachField calls fn with each field of a JSON object as it comes; fn reads the value.
func eachField(from io.Reader, fn func(name string, dec *json.Decoder) error) error {
	dec := json.NewDecoder(from)
	if err := delimiter(dec, '{'); err != nil {
		return err
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		if err := fn(fmt.Sprint(t), dec); err != nil {
			return err
		}
	}
	return delimiter(dec, '}')
}

// eachElement reads a JSON list and calls fn with each element as it comes; null is an empty list.
func eachElement[E any](dec *json.Decoder, fn func(E) error) error {
	t, err := dec.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return errAnswer
	}
	for dec.More() {
		var element E
		if err := dec.Decode(&element); err != nil {
			return err
		}
		if err := fn(element); err != nil {
			return err
		}
	}
	return delimiter(dec, ']')
}

// skipValue passes over a value that is not a long list.
func skipValue(dec *json.Decoder) error { return dec.Decode(new(json.RawMessage)) }

var errAnswer = errors.New("the daemon's answer is not understood; restart it with the same version as moltctl")

func delimiter(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err == nil && t != want {
		err = errAnswer
	}
	return err
}
