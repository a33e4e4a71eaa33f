/// One edit: choose a photo, mark, wait, see the result, or what went wrong and what to do about it.
library;

import 'dart:async';
import 'dart:typed_data';
import 'dart:ui' as ui;

import 'package:flutter/material.dart';
import 'package:image_picker/image_picker.dart';

import 'inpaint_client.dart';
import 'mask_painter.dart';
import 'protocol.dart';

class EditPage extends StatefulWidget {
  const EditPage({super.key, required this.client});

  final InpaintClient client;

  @override
  State<EditPage> createState() => _EditPageState();
}

class _EditPageState extends State<EditPage> {
  Uint8List? _photo;
  MaskController? _mask;
  String? _sessionId;
  bool _photoIsThere = false; // uploaded for this session
  bool _sending = false;
  double _sent = 0;
  SessionView? _view;
  Uint8List? _edited;
  String? _error; // of this device: no network, no right
  StreamSubscription<SessionView>? _watching;

  @override
  void dispose() {
    _watching?.cancel();
    _mask?.dispose();
    super.dispose();
  }

  bool get _busy => _sending || (_view?.atWork ?? false);

  /// Runs what may fail, and shows why.
  Future<void> _try(Future<void> Function() action) async {
    setState(() => _error = null);
    try {
      await action();
    } catch (error) {
      _complain('$error');
    }
  }

  void _complain(String text) {
    if (mounted) setState(() => _error = text);
  }

  Future<void> _choosePhoto() => _try(() async {
        final file = await ImagePicker().pickImage(source: ImageSource.gallery);
        if (file == null) return;
        final bytes = await file.readAsBytes();
        final codec = await ui.instantiateImageCodec(bytes); // upright, as its Exif orientation says
        final image = (await codec.getNextFrame()).image;
        codec.dispose();
        if (!mounted) return image.dispose();
        setState(() {
          _forgetSession();
          _photo = bytes;
          _mask?.dispose();
          _mask = MaskController(image);
        });
      });

  /// Uploads what is not there yet, then asks: never before, or the worker would look for the pictures in vain.
  Future<void> _send({bool photoAgain = false}) => _try(() async {
        setState(() {
          _sending = true;
          _sent = 0;
          _edited = null;
        });
        try {
          final sessionId = _sessionId ??= await widget.client.createSession();
          await widget.client.upload(
            sessionId,
            photo: photoAgain || !_photoIsThere ? _photo : null,
            mask: await _mask!.toPng(),
            onProgress: (share) {
              if (mounted) setState(() => _sent = share);
            },
          );
          _photoIsThere = true;
          await widget.client.requestEdit(sessionId);
          if (!mounted) return; // nobody would end the listener
          _view = const SessionView(status: Status.pending); // until the document itself says more
          _watching ??= widget.client.watch(sessionId).listen(_show, onError: _lost);
        } finally {
          if (mounted) setState(() => _sending = false);
        }
      });

  /// Firestore ends a listener with its first error. The session goes on; asking again listens again.
  void _lost(Object error) {
    _watching = null;
    _view = null;
    _complain('$error');
  }

  /// What Firestore's cache has may be of the edit before; so a picture is shown only while its view is the latest.
  void _show(SessionView view) {
    if (!mounted) return;
    setState(() {
      _view = view;
      _edited = null;
      _error = null;
    });
    final path = view.editedImagePath;
    if (path == null) return;
    _try(() async {
      final bytes = await widget.client.download(path);
      if (mounted && identical(view, _view)) setState(() => _edited = bytes);
    });
  }

  void _forgetSession() {
    _watching?.cancel();
    _watching = null;
    _sessionId = null;
    _photoIsThere = false;
    _view = null;
    _edited = null;
  }

  @override
  Widget build(BuildContext context) {
    final mask = _mask;
    return Scaffold(
      appBar: AppBar(title: const Text('Remove something')),
      body: SafeArea(
        child: Column(
          children: [
            Expanded(
              child: Center(
                child: _edited != null
                    ? Image.memory(_edited!)
                    : mask == null
                        ? const Text('Choose a photo, then mark what shall go away.')
                        : MaskPainter(controller: mask, enabled: !_busy),
              ),
            ),
            Padding(padding: const EdgeInsets.all(16), child: _status()),
            Padding(
              padding: const EdgeInsets.only(bottom: 16),
              child: Wrap(spacing: 12, children: _buttons()),
            ),
          ],
        ),
      ),
    );
  }

  Widget _status() {
    final view = _view;
    if (_error != null) return Text(_error!);
    if (_sending) return LinearProgressIndicator(value: _sent);
    if (view == null) return const SizedBox.shrink();
    return switch (view.status) {
      Status.processing => Column(
          children: [
            LinearProgressIndicator(value: view.progress / 100),
            if (view.etaSeconds != null) Text('${view.etaSeconds!.ceil()} s left'),
          ],
        ),
      // A cold start takes a minute or more, in which nothing happens in the document.
      Status.pending => const Column(children: [LinearProgressIndicator(), Text('Waiting for its turn')]),
      Status.failed => Text(view.message!),
      Status.cancelled => const Text('Cancelled.'),
      _ => const SizedBox.shrink(),
    };
  }

  List<Widget> _buttons() {
    if (_sending) return const [];
    final sessionId = _sessionId;
    if (_busy && sessionId != null) {
      return [TextButton(onPressed: () => _try(() => widget.client.cancel(sessionId)), child: const Text('Cancel'))];
    }
    final remedy = _view?.remedy;
    return [
      TextButton(onPressed: _choosePhoto, child: Text(_photo == null ? 'Choose a photo' : 'Another photo')),
      if (_mask != null && _edited == null) TextButton(onPressed: _mask!.undo, child: const Text('Undo')),
      if (_edited != null) TextButton(onPressed: () => setState(() => _edited = null), child: const Text('Mark again')),
      if (_mask != null && _edited == null && remedy != Remedy.photo)
        ListenableBuilder(
          listenable: _mask!,
          builder: (context, _) => FilledButton(onPressed: _mask!.isEmpty ? null : () => _go(remedy), child: Text(_label(remedy))),
        ),
    ];
  }

  void _go(Remedy? remedy) {
    if (remedy == Remedy.start) _forgetSession();
    _send(photoAgain: remedy == Remedy.upload);
  }

  static String _label(Remedy? remedy) => switch (remedy) {
        Remedy.retry => 'Try again',
        Remedy.upload => 'Upload again',
        _ => 'Remove what is marked',
      };
}
