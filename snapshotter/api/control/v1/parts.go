// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlv1 is molt's control API as control.proto describes it, and what puts the parts of its answers
// together.
package controlv1

import (
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// message is a generated message of type T.
type message[T any] interface {
	*T
	proto.Message
}

// Whole puts the parts of an answer together. It is called with what a call of a streaming method returns. Errors are
// those of the call and of the stream, as they are.
func Whole[T any, M message[T]](stream grpc.ServerStreamingClient[T], err error) (M, error) {
	whole := M(new(T))
	err = Each(stream, err, func(part *T) error {
		Append(whole, M(part))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return whole, nil
}

// Each calls fn with each part of an answer as it comes, until fn fails. It is called with what a call of a streaming
// method returns.
func Each[T any](stream grpc.ServerStreamingClient[T], err error, fn func(part *T) error) error {
	if err != nil {
		return err
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(part); err != nil {
			return err
		}
	}
}

// Append adds a part to what came of an answer before.
func Append(whole, part proto.Message) {
	var lists []protoreflect.FieldDescriptor
	before := map[protoreflect.FieldNumber]int{}
	to := whole.ProtoReflect()
	to.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.IsList() && field.Kind() == protoreflect.MessageKind {
			lists = append(lists, field)
			before[field.Number()] = value.List().Len()
		}
		return true
	})
	proto.Merge(whole, part)
	for _, field := range lists {
		list, at := to.Mutable(field).List(), before[field.Number()]
		if at == list.Len() || !Continues(list.Get(at-1).Message().Interface(), list.Get(at).Message().Interface()) {
			continue
		}
		proto.Merge(list.Get(at-1).Message().Interface(), list.Get(at).Message().Interface())
		for i := at + 1; i < list.Len(); i++ {
			list.Set(i-1, list.Get(i))
		}
		list.Truncate(list.Len() - 1)
	}
}

// Continues reports whether an element of a list goes on with the element before it.
func Continues(last, next proto.Message) bool {
	a, one := last.(*Update)
	b, two := next.(*Update)
	return one && two && a.GetId() == b.GetId()
}

// Reader returns the JSON document whose pieces a stream brings. Its errors are those of the stream, as they are.
func Reader[T any](stream grpc.ServerStreamingClient[T], piece func(*T) []byte) io.Reader {
	return &reader[T]{stream: stream, piece: piece}
}

type reader[T any] struct {
	stream grpc.ServerStreamingClient[T]
	piece  func(*T) []byte
	rest   []byte
}

// Read implements io.Reader.
func (r *reader[T]) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		part, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.rest = r.piece(part)
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
