// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// Ids are shown to programs as commands take them. This says which fields are ids: nodes (n12) and updates (u3); 0 is
// null.
const (
	aNode    = "n"
	anUpdate = "u"
)

var ids = map[string]string{
	"Node.id": aNode, "Node.parent": aNode, "Node.base": aNode, "Name.node": aNode,
	"Point.update": anUpdate, "Point.head": aNode, "Point.base": aNode,
	"Storage.head": aNode, "Storage.base": aNode, "Storage.stack": aNode, "Storage.held_by": anUpdate,
	"Storage.newer": aNode, "Storage.newer_by": anUpdate,
	"Pending.update": anUpdate, "Placement.from": aNode, "Placement.to": aNode, "Placement.update": anUpdate,
	"Outcome.delta": aNode, "Update.id": anUpdate, "Update.from": aNode, "Update.to": aNode,
	"DiffStorageResponse.node": aNode, "Undone.by": anUpdate,
	"MergeLayersResponse.Pair.lower": aNode, "MergeLayersResponse.Pair.upper": aNode,
	"MergeLayersResponse.Kept.lower": aNode, "MergeLayersResponse.Kept.upper": aNode,
	"MergeLayersResponse.Reason.node": aNode, "MergeLayersResponse.Reason.update": anUpdate,
}

// asJSON writes a message as it is shown to programs, in several lines with an indent.
func asJSON(m proto.Message) (string, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, compactJSON(m), "", "  "); err != nil {
		return "", err
	}
	return b.String(), nil
}

// compactJSON writes a message as it is shown to programs, in one line. Fields that are not set are there: null, where
// no value says so.
func compactJSON(m proto.Message) []byte {
	var b bytes.Buffer
	writeMessage(&b, m.ProtoReflect())
	return b.Bytes()
}

func writeMessage(b *bytes.Buffer, m protoreflect.Message) {
	if t, ok := m.Interface().(*timestamppb.Timestamp); ok {
		writeText(b, t.AsTime().Format(time.RFC3339Nano))
		return
	}
	b.WriteByte('{')
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		writeField(b, fields.Get(i), m)
	}
	b.WriteByte('}')
}

// writeField writes a field with its name.
func writeField(b *bytes.Buffer, field protoreflect.FieldDescriptor, m protoreflect.Message) {
	value := m.Get(field)
	writeText(b, string(field.Name()))
	b.WriteByte(':')
	switch {
	case field.IsList():
		b.WriteByte('[')
		for i := range value.List().Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			writeValue(b, field, value.List().Get(i))
		}
		b.WriteByte(']')
	case field.Kind() == protoreflect.BytesKind && len(value.Bytes()) == 0:
		writeText(b, "")
	case field.Kind() == protoreflect.BytesKind:
		writeText(b, strings.ToValidUTF8(string(absolute(value.Bytes())), "\ufffd"))
		if !utf8.Valid(value.Bytes()) {
			fmt.Fprintf(b, `,"%s_raw":"%s"`, field.Name(), base64.StdEncoding.EncodeToString(absolute(value.Bytes())))
		}
	case field.Message() != nil && !m.Has(field):
		b.WriteString("null")
	default:
		writeValue(b, field, value)
	}
}

func writeValue(b *bytes.Buffer, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	kind, isID := ids[fieldName(field)]
	switch {
	case isID && value.Uint() == 0:
		b.WriteString("null")
	case isID:
		writeText(b, kind+strconv.FormatUint(value.Uint(), 10))
	case field.Message() != nil:
		writeMessage(b, value.Message())
	case field.Enum() != nil:
		writeText(b, api.WordIn(field.Enum(), value.Enum()))
	case field.Kind() == protoreflect.StringKind:
		writeText(b, value.String())
	default:
		b.WriteString(value.String()) // a number, or true or false
	}
}

// fieldName returns the name of a field with that of its message, within the API.
func fieldName(field protoreflect.FieldDescriptor) string {
	return strings.TrimPrefix(string(field.FullName()), string(field.ParentFile().Package())+".")
}

func writeText(b *bytes.Buffer, text string) {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a text has a form in JSON
	b.Write(bytes.TrimSpace(quoted.Bytes()))
}

// paths are the members of reports and of other documents of the engine that hold a path. It has them relative to the
// root.
var paths = map[string]bool{"path": true, "was": true, "at": true}

// rawPath is the member of those that has a path as bytes, where it is not UTF-8.
const rawPath = "path_bytes"

// copyDocument copies a document of the engine as it comes, with paths as they are shown to programs.
func copyDocument(w io.Writer, document io.Reader) error {
	dec := json.NewDecoder(document)
	dec.UseNumber()
	t, err := dec.Token()
	if err != nil {
		return err
	}
	return copyValue(w, dec, t, "")
}

// copyValue copies the value that begins with a token; name is that of the member whose value it is.
func copyValue(w io.Writer, dec *json.Decoder, t json.Token, name string) error {
	if open, is := t.(json.Delim); is {
		return copyMembers(w, dec, open)
	}
	text, is := t.(string)
	switch {
	case is && paths[name] && text != "":
		t = path.Clean("/" + text)
	case is && name == rawPath:
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		t = base64.StdEncoding.EncodeToString(absolute(raw))
	}
	return writeToken(w, t)
}

// copyMembers copies the rest of an object or of a list.
func copyMembers(w io.Writer, dec *json.Decoder, open json.Delim) error {
	before := open.String()
	for dec.More() {
		if _, err := io.WriteString(w, before); err != nil {
			return err
		}
		before = ","
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name := ""
		if open == '{' {
			name = fmt.Sprint(t)
			if err := writeToken(w, strings.Replace(name, rawPath, "path_raw", 1)); err != nil {
				return err
			}
			if _, err := io.WriteString(w, ":"); err != nil {
				return err
			}
			if t, err = dec.Token(); err != nil {
				return err
			}
		}
		if err := copyValue(w, dec, t, name); err != nil {
			return err
		}
	}
	end, err := dec.Token()
	if err != nil {
		return err
	}
	if before == open.String() { // it has no members
		before += fmt.Sprint(end)
	} else {
		before = fmt.Sprint(end)
	}
	_, err = io.WriteString(w, before)
	return err
}

func writeToken(w io.Writer, t json.Token) error {
	var b bytes.Buffer
	if text, is := t.(string); is {
		writeText(&b, text)
	} else {
		data, err := json.Marshal(t)
		if err != nil {
			return err
		}
		b.Write(data)
	}
	_, err := w.Write(b.Bytes())
	return err
}
