/// Marking with a finger: the photo with translucent strokes over it, and the mask as a PNG, white on black.
library;

import 'dart:math';
import 'dart:typed_data';
import 'dart:ui' as ui;

import 'package:flutter/material.dart';

const maskMaxSide = 4096;

class _Stroke {
  _Stroke(this.width, Offset first) : points = [first];

  final double width;
  final List<Offset> points;
}

/// What is marked, in pixels of the photo as it is shown: after its Exif orientation, as Flutter decodes it. It owns the photo.
class MaskController extends ChangeNotifier {
  MaskController(this.photo);

  final ui.Image photo;
  final List<_Stroke> _strokes = [];

  @override
  void dispose() {
    photo.dispose();
    super.dispose();
  }

  bool get isEmpty => _strokes.isEmpty;

  void begin(Offset at, double width) {
    _strokes.add(_Stroke(width, at));
    notifyListeners();
  }

  void extend(Offset at) {
    if (_strokes.isEmpty) return; // undone by another finger
    _strokes.last.points.add(at);
    notifyListeners();
  }

  void undo() {
    if (_strokes.isNotEmpty) _strokes.removeLast();
    notifyListeners();
  }

  /// Without soft edges: a pixel is marked or not. A tap is a dot.
  void draw(Canvas canvas, Color colour) {
    for (final stroke in _strokes) {
      final paint = Paint()
        ..color = colour
        ..isAntiAlias = false
        ..style = PaintingStyle.stroke
        ..strokeCap = StrokeCap.round
        ..strokeJoin = StrokeJoin.round
        ..strokeWidth = stroke.width;
      if (stroke.points.length == 1) {
        canvas.drawPoints(ui.PointMode.points, stroke.points, paint);
      } else {
        canvas.drawPath(Path()..addPolygon(stroke.points, false), paint);
      }
    }
  }

  /// The mask, of the photo's size as it is shown. The worker also takes a smaller one of the same shape, which is made of
  /// a photo beyond what every graphics chip can draw into.
  Future<Uint8List> toPng() async {
    final scale = min(1.0, maskMaxSide / max(photo.width, photo.height));
    final width = (photo.width * scale).round(), height = (photo.height * scale).round();
    final recorder = ui.PictureRecorder();
    final canvas = Canvas(recorder);
    canvas.drawColor(const Color(0xFF000000), BlendMode.src);
    canvas.scale(scale);
    draw(canvas, const Color(0xFFFFFFFF));
    final picture = recorder.endRecording();
    final image = await picture.toImage(width, height);
    picture.dispose();
    try {
      final data = await image.toByteData(format: ui.ImageByteFormat.png);
      return data!.buffer.asUint8List(data.offsetInBytes, data.lengthInBytes);
    } finally {
      image.dispose();
    }
  }
}

class MaskPainter extends StatelessWidget {
  const MaskPainter({super.key, required this.controller, this.enabled = true});

  final MaskController controller;
  final bool enabled;

  @override
  Widget build(BuildContext context) {
    final photo = controller.photo;
    final brush = max(photo.width, photo.height) / 30;
    // Within the FittedBox everything is in pixels of the photo, places of the finger included.
    return FittedBox(
      child: SizedBox(
        width: photo.width.toDouble(),
        height: photo.height.toDouble(),
        child: GestureDetector(
          onPanDown: enabled ? (details) => controller.begin(details.localPosition, brush) : null,
          onPanUpdate: enabled ? (details) => controller.extend(details.localPosition) : null,
          child: CustomPaint(
            foregroundPainter: _Overlay(controller),
            child: RawImage(image: photo, fit: BoxFit.fill),
          ),
        ),
      ),
    );
  }
}

class _Overlay extends CustomPainter {
  _Overlay(this.controller) : super(repaint: controller);

  final MaskController controller;

  @override
  void paint(Canvas canvas, Size size) {
    // One layer, so that strokes over each other are no darker than one.
    canvas.clipRect(Offset.zero & size);
    canvas.saveLayer(Offset.zero & size, Paint()..color = const Color(0x80000000));
    controller.draw(canvas, const Color(0xFFE5267A));
    canvas.restore();
  }

  @override
  bool shouldRepaint(_Overlay old) => old.controller != controller;
}
